//! People put together from what OpenPose's network gives: how likely each part is at each place, and for each limb the
//! direction in which it runs there.

use super::skeleton::{Point, Skeleton};
use crate::neural::planes::Plane;

/// Parts of a body; the network also tells where there is none.
pub const PARTS: usize = 18;
/// Two planes for each of the limbs below.
pub const DIRECTIONS: usize = 38;

/// Each limb's parts, and the first of its two planes. The last two run from shoulders to ears and only join what is there.
const LIMBS: [(usize, usize, usize); 19] = [
    (1, 2, 12),
    (1, 5, 20),
    (2, 3, 14),
    (3, 4, 16),
    (5, 6, 22),
    (6, 7, 24),
    (1, 8, 0),
    (8, 9, 2),
    (9, 10, 4),
    (1, 11, 6),
    (11, 12, 8),
    (12, 13, 10),
    (1, 0, 28),
    (0, 14, 30),
    (14, 16, 34),
    (0, 15, 32),
    (15, 17, 36),
    (2, 16, 18),
    (5, 17, 26),
];
const DRAWN: usize = 17;

/// Candidates of one part, the likeliest: so many people are not in a picture.
const MOST_PEAKS: usize = 64;
/// Places along a limb at which its direction is looked at, how strong it must be there, and at how many.
const SAMPLES: usize = 10;
const LEAST_DIRECTION: f32 = 0.05;
const LEAST_SHARE: f32 = 0.8;
/// Fewer are no person, nor are those that are less likely on the whole.
const LEAST_PARTS: usize = 4;
const LEAST_SCORE: f32 = 0.4;

/// A place where a part is likely, in pixels of the likelihoods.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Peak {
    x: f32,
    y: f32,
    score: f32,
}

/// Parts that belong together: which peak of each, and how likely all are.
#[derive(Clone, Debug)]
struct Person {
    peaks: [Option<usize>; PARTS],
    score: f32,
    count: usize,
}

/// The likelihoods are already as large as the places are told in; `sigma` smooths them before peaks are looked for, which
/// are above `threshold`. The directions may be coarser: `scale` is how many of their pixels make one.
pub fn people(
    likely: &[Plane],
    directions: &[Plane],
    scale: f32,
    sigma: f64,
    threshold: f32,
) -> Vec<Skeleton> {
    let peaks: Vec<Vec<Peak>> =
        likely.iter().take(PARTS).map(|plane| peaks(plane, sigma, threshold)).collect();
    let height = likely.first().map_or(0, |plane| plane.height);
    let mut people: Vec<Person> = Vec::new();
    for (index, &(from, to, plane)) in LIMBS.iter().enumerate() {
        let ends = [&peaks[from][..], &peaks[to][..]];
        let field = Field { across: &directions[plane], down: &directions[plane + 1], scale };
        for (a, b, score) in field.connections(ends, height as f32) {
            let score = (score, ends[0][a].score, ends[1][b].score);
            join(&mut people, [(from, a), (to, b)], score, index < DRAWN);
        }
    }
    let is_person = |person: &&Person| {
        person.count >= LEAST_PARTS && person.score / person.count as f32 >= LEAST_SCORE
    };
    let place = |(part, peak): (usize, Option<usize>)| {
        peak.map(|peak| Point { x: peaks[part][peak].x, y: peaks[part][peak].y })
    };
    let skeleton = |person: &Person| {
        let mut parts = person.peaks.into_iter().enumerate().map(place);
        std::array::from_fn(|_| parts.next().flatten())
    };
    people.iter().filter(is_person).map(skeleton).collect()
}

/// Where a part is at least as likely as at the four places around, the likeliest first.
fn peaks(likely: &Plane, sigma: f64, threshold: f32) -> Vec<Peak> {
    if likely.values.iter().all(|&value| value <= threshold) {
        return vec![];
    }
    let smooth = likely.blurred(sigma);
    let (width, height) = (smooth.width as isize, smooth.height as isize);
    let value = |x: isize, y: isize| {
        let is_inside = (0..width).contains(&x) && (0..height).contains(&y);
        if is_inside { smooth.values[(y * width + x) as usize] } else { 0.0 }
    };
    let mut peaks = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let here = value(x, y);
            let [left, right] = [value(x - 1, y), value(x + 1, y)];
            let [above, below] = [value(x, y - 1), value(x, y + 1)];
            if here > threshold && [left, right, above, below].iter().all(|other| here >= *other) {
                peaks.push(Peak {
                    x: x as f32 + top(left, here, right),
                    y: y as f32 + top(above, here, below),
                    score: likely.values[(y * width + x) as usize],
                });
            }
        }
    }
    peaks.sort_by(|one, other| other.score.total_cmp(&one.score));
    peaks.truncate(MOST_PEAKS);
    peaks
}

/// Of a parabola through three values, the middle one of which is the largest: how far it is from there.
fn top(before: f32, here: f32, after: f32) -> f32 {
    let bend = 2.0 * here - before - after;
    if bend > f32::EPSILON { ((after - before) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 }
}

/// The directions of one limb.
struct Field<'a> {
    across: &'a Plane,
    down: &'a Plane,
    scale: f32,
}

impl Field<'_> {
    /// Which peaks of one part go with which of the other, the surest first and each only once, and how surely.
    fn connections(&self, [from, to]: [&[Peak]; 2], height: f32) -> Vec<(usize, usize, f32)> {
        let mut sure = Vec::new();
        for (a, start) in from.iter().enumerate() {
            for (b, end) in to.iter().enumerate() {
                sure.extend(self.score(start, end, height).map(|score| (a, b, score)));
            }
        }
        sure.sort_by(|one, other| other.2.total_cmp(&one.2));
        let mut taken: Vec<(usize, usize, f32)> = Vec::new();
        for one in sure {
            if taken.iter().all(|other| one.0 != other.0 && one.1 != other.1) {
                taken.push(one);
            }
        }
        taken
    }

    /// How far the directions on the way run along it; less for limbs that are longer than half the picture.
    fn score(&self, from: &Peak, to: &Peak, height: f32) -> Option<f32> {
        let (right, down) = (to.x - from.x, to.y - from.y);
        let length = right.hypot(down).max(0.001);
        let along = |sample: usize| {
            let share = sample as f32 / (SAMPLES - 1) as f32;
            let place = |from: f32, way: f32| (from + way * share + 0.5) * self.scale - 0.5;
            let (x, y) = (place(from.x, right), place(from.y, down));
            (self.across.at(x, y) * right + self.down.at(x, y) * down) / length
        };
        let scores: [f32; SAMPLES] = std::array::from_fn(along);
        let strong = scores.iter().filter(|score| **score > LEAST_DIRECTION).count();
        let mean = scores.iter().sum::<f32>() / SAMPLES as f32;
        let score = mean + (0.5 * height / length - 1.0).min(0.0);
        (strong as f32 > LEAST_SHARE * SAMPLES as f32 && score > 0.0).then_some(score)
    }
}

/// Adds a limb to whom one of its ends belongs to, or makes a person of it. `(of the limb, of its ends)` are the scores.
fn join(
    people: &mut Vec<Person>,
    [(from, a), (to, b)]: [(usize, usize); 2],
    (limb, first, second): (f32, f32, f32),
    may_begin: bool,
) {
    let has = |person: &Person| person.peaks[from] == Some(a) || person.peaks[to] == Some(b);
    let mut having = people.iter().enumerate().filter(|(_, person)| has(person)).map(|(at, _)| at);
    match (having.next(), having.next()) {
        (Some(one), Some(other)) if are_apart(&people[one], &people[other]) => {
            let other = people.remove(other);
            let one = &mut people[one];
            for (own, more) in one.peaks.iter_mut().zip(other.peaks) {
                *own = own.or(more);
            }
            one.score += other.score + limb;
            one.count += other.count;
        }
        (Some(one), _) => {
            let one = &mut people[one];
            if one.peaks[to] != Some(b) {
                one.count += usize::from(one.peaks[to].is_none());
                one.peaks[to] = Some(b);
                one.score += second + limb;
            }
        }
        (None, _) if may_begin => {
            let mut peaks = [None; PARTS];
            (peaks[from], peaks[to]) = (Some(a), Some(b));
            people.push(Person { peaks, score: first + second + limb, count: 2 });
        }
        (None, _) => {}
    }
}

fn are_apart(one: &Person, other: &Person) -> bool {
    one.peaks.iter().zip(&other.peaks).all(|(one, other)| one.is_none() || other.is_none())
}
