//! People drawn as `controlnet_aux` draws OpenPose's: eighteen joints and seventeen limbs, in colours that tell which.

use crate::picture::Picture;

/// A place in a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// The joints that were found: nose, neck, right shoulder, elbow, wrist, left ones, right hip, knee, ankle, left ones, eyes
/// and ears, the right ones first.
pub type Skeleton = [Option<Point>; 18];

pub const LIMBS: [(usize, usize); 17] = [
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
];

/// Of limbs, darkened, and of joints.
const COLOURS: [[u8; 3]; 18] = [
    [255, 0, 0],
    [255, 85, 0],
    [255, 170, 0],
    [255, 255, 0],
    [170, 255, 0],
    [85, 255, 0],
    [0, 255, 0],
    [0, 255, 85],
    [0, 255, 170],
    [0, 255, 255],
    [0, 170, 255],
    [0, 85, 255],
    [0, 0, 255],
    [85, 0, 255],
    [170, 0, 255],
    [255, 0, 255],
    [255, 0, 170],
    [255, 0, 85],
];

/// Half the width of limbs and joints, in a picture whose shorter side is this long.
const STICK: f32 = 4.0;
const USUAL_SIDE: f32 = 512.0;
const LIMB_SHARE: f32 = 0.6;

/// On black, as large as `picture`.
pub fn draw(picture: &Picture, people: &[Skeleton]) -> Picture {
    let mut drawn = picture.black();
    let shorter = picture.width().min(picture.height()) as f32;
    let stick = (STICK * shorter / USUAL_SIDE).round().max(1.0);
    for person in people {
        let person = person.map(|point| point.filter(|point| is_near(*point, picture)));
        for (&(from, to), colour) in LIMBS.iter().zip(COLOURS) {
            if let (Some(from), Some(to)) = (person[from], person[to]) {
                let colour = colour.map(|level| (f32::from(level) * LIMB_SHARE) as u8);
                limb(&mut drawn, [from, to], stick, colour);
            }
        }
        for (joint, colour) in person.iter().zip(COLOURS) {
            if let Some(Point { x, y }) = joint {
                let half = stick + 0.01;
                let disc = Ellipse { x: x.trunc(), y: y.trunc(), axes: [half; 2], angle: 0.0 };
                disc.fill(&mut drawn, colour);
            }
        }
    }
    drawn
}

/// What is farther outside than the picture is long is no place of a person in it.
fn is_near(point: Point, picture: &Picture) -> bool {
    let near = |place: f32, side: usize| (-(side as f32)..2.0 * side as f32).contains(&place);
    near(point.x, picture.width()) && near(point.y, picture.height())
}

fn limb(drawn: &mut Picture, [from, to]: [Point; 2], stick: f32, colour: [u8; 3]) {
    let (across, down) = (from.x - to.x, from.y - to.y);
    let half = (across.hypot(down) / 2.0).trunc();
    let middle = |one: f32, other: f32| ((one + other) / 2.0).trunc();
    let ellipse = Ellipse {
        x: middle(from.x, to.x),
        y: middle(from.y, to.y),
        // As OpenCV fills polygons, with their outlines.
        axes: [half + 1.0, stick + 0.6],
        angle: down.atan2(across).to_degrees().trunc().to_radians(),
    };
    ellipse.fill(drawn, colour);
}

struct Ellipse {
    x: f32,
    y: f32,
    /// Half of each.
    axes: [f32; 2],
    /// Of the first axis.
    angle: f32,
}

impl Ellipse {
    fn fill(&self, drawn: &mut Picture, colour: [u8; 3]) {
        let (sin, cos) = self.angle.sin_cos();
        let [long, short] = self.axes;
        let reach = [(long * cos).hypot(short * sin), (long * sin).hypot(short * cos)];
        let (width, height) = (drawn.width(), drawn.height());
        for y in range(self.y, reach[1], height) {
            let row = drawn.row_mut(y).as_chunks_mut::<3>().0;
            for x in range(self.x, reach[0], width) {
                let (right, down) = (x as f32 - self.x, y as f32 - self.y);
                let along = (right * cos + down * sin) / long;
                let beside = (down * cos - right * sin) / short;
                if along * along + beside * beside <= 1.0 {
                    row[x] = colour;
                }
            }
        }
    }
}

/// Inside of a side.
fn range(center: f32, reach: f32, length: usize) -> std::ops::Range<usize> {
    let place = |place: f32| place.clamp(0.0, length as f32) as usize;
    place((center - reach).floor())..place((center + reach).floor() + 1.0)
}
