//! People are found where they are, and drawn as by OpenCV.

use crate::support::{bytes, host, made, numbers, open, process};
use plugin_processors::neural::planes::Plane;
use plugin_processors::neural::pose::{Point, Roi, Skeleton, detections, draw, people};
use plugin_processors::picture::Picture;
use plugins_diffusion::tensor::Tensor;
use serde_json::json;

/// The recorded numbers of colours: limbs are darker than joints.
fn number(pixel: [u8; 3]) -> u8 {
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
    let dark = COLOURS.map(|colour| colour.map(|level| (f64::from(level) * 0.6) as u8));
    let place = dark.iter().chain(&COLOURS).position(|colour| *colour == pixel);
    place.map_or(0, |place| place as u8 + 1)
}

/// That nearly all drawn pixels are those of OpenCV: it draws the outlines of polygons.
fn is_drawn(name: &str, drawn: &Picture) {
    let recorded = bytes(name);
    let numbers: Vec<u8> = drawn.rgb().as_chunks().0.iter().map(|pixel| number(*pixel)).collect();
    let is_lit = |pair: &(&u8, &u8)| *pair.0 != 0 || *pair.1 != 0;
    let lit: Vec<_> = numbers.iter().zip(&recorded).filter(is_lit).collect();
    let equal = lit.iter().filter(|(one, other)| one == other).count();
    println!("{name}: {equal} of {} pixels are equal", lit.len());
    assert!(equal * 100 >= 94 * lit.len(), "{name}: {equal} of {}", lit.len());
    let missing = (1..=35).filter(|number| recorded.contains(number) && !numbers.contains(number));
    assert_eq!(missing.count(), 0, "{name}: colours");
}

fn black(side: usize) -> Picture {
    Picture::new(side, side, vec![0; 3 * side * side]).unwrap()
}

fn recorded(name: &str) -> Vec<Skeleton> {
    let points = numbers(name).1;
    let skeleton = |numbers: &[f32]| {
        let mut points = numbers.as_chunks::<2>().0.iter().map(|&[x, y]| Point { x, y });
        std::array::from_fn(|_| points.next())
    };
    points.chunks_exact(36).map(skeleton).collect()
}

#[test]
fn skeletons_are_drawn_as_by_controlnet_aux() {
    let people = recorded("people");
    is_drawn("people_drawn", &draw(&black(512), &people));
    let mut some = people[0];
    (some[4], some[9], some[17]) = (None, None, None);
    is_drawn("some_drawn", &draw(&black(512), &[some]));
}

#[test]
fn places_that_are_none_are_not_drawn() {
    let wild = [f32::NAN, f32::INFINITY, -1e30, 1e30, 70.0, -50.0];
    for x in wild {
        for y in wild {
            let mut person = [Some(Point { x: 5.0, y: 5.0 }); 18];
            person[2] = Some(Point { x, y });
            draw(&black(40), &[person]);
        }
    }
    let narrow = Picture::new(2, 300, vec![0; 1800]).unwrap();
    draw(&narrow, &[[Some(Point { x: 1.0, y: 100.0 }); 18]]);
}

#[test]
fn parts_that_belong_together_become_people() {
    let planes = |name: &str| -> Vec<Plane> {
        let (shape, values) = numbers(name);
        let planes = values.chunks_exact(shape[1] * shape[2]);
        let plane = |values: &[f32]| values.iter().map(|value| value / 127.0).collect();
        planes.map(|one| Plane { width: shape[2], height: shape[1], values: plane(one) }).collect()
    };
    let found = people(&planes("likely"), &planes("ways"), 1.0, 1.0, 0.1);
    // The other one has too few parts; this one lacks a shoulder, without which the arm does not hang together.
    assert_eq!(found.len(), 1);
    let joints = [
        (50, 20),
        (50, 32),
        (40, 32),
        (32, 44),
        (28, 57),
        (60, 32),
        (68, 24),
        (74, 12),
        (44, 56),
        (43, 74),
        (42, 92),
        (56, 56),
        (57, 74),
        (58, 92),
        (47, 17),
        (53, 17),
        (44, 19),
        (56, 19),
    ];
    for (part, (x, y)) in joints.into_iter().enumerate() {
        match found[0][part] {
            Some(point) => {
                let apart = (point.x - 0.9 * x as f32).hypot(point.y - 0.9 * y as f32);
                assert!(apart < 0.5, "{part}: {point:?}");
            }
            None => assert!([5, 6, 7].contains(&part), "{part}"),
        }
    }
}

#[test]
fn openpose_finds_and_draws_two_people() {
    let drawn = made("openpose", json!({}), &black(512));
    let exact = draw(&black(512), &recorded("people"));
    // A pixel or two apart, as the network is that coarse.
    let is_near = |x: usize, y: usize, picture: &Picture| {
        (y.saturating_sub(3)..(y + 4).min(512)).any(|y| {
            (x.saturating_sub(3)..(x + 4).min(512))
                .any(|x| picture.rgb()[3 * (512 * y + x)..][..3] != [0; 3])
        })
    };
    let mut counts = [0_usize, 0];
    for y in 0..512 {
        for x in 0..512 {
            let lit = |picture: &Picture| picture.rgb()[3 * (512 * y + x)..][..3] != [0; 3];
            if lit(&drawn) {
                counts[0] += 1;
                assert!(is_near(x, y, &exact), "{x} {y}");
            }
            if lit(&exact) {
                counts[1] += 1;
                assert!(is_near(x, y, &drawn), "{x} {y}");
            }
        }
    }
    assert!(counts[0].abs_diff(counts[1]) * 20 < counts[1], "{counts:?}");
    let none = made("openpose", json!({ "confidence_threshold": 1 }), &black(512));
    assert!(none == black(512));
}

#[test]
fn yolo_nas_finds_and_draws_one_of_four_rows() {
    is_drawn("yolo_drawn", &made("pose_tensorrt", json!({}), &black(512)));
    let none = made("pose_tensorrt", json!({ "confidence_threshold": 0.95 }), &black(512));
    assert!(none == black(512));
}

#[test]
fn mediapipe_finds_who_leans_and_draws_them() {
    is_drawn("mediapipe_drawn", &made("mediapipe_pose", json!({}), &black(448)));
    let params = json!({ "min_detection_confidence": 0.95 });
    assert!(made("mediapipe_pose", params, &black(448)) == black(448));
    let params = json!({ "min_tracking_confidence": 0.95 });
    assert!(made("mediapipe_pose", params, &black(448)) == black(448));
}

#[test]
fn mediapipe_follows_a_person_from_picture_to_picture() {
    // The networks see the same in each picture, and say that the person has not moved.
    let mut step = open(&host(), "mediapipe_pose", json!({}), (448, 448)).unwrap();
    let first = process(&mut step, &black(448)).unwrap();
    for _ in 0..3 {
        let next = process(&mut step, &black(448)).unwrap();
        // Places are whole pixels, and sums end on either side of one.
        let pairs = first.rgb().iter().zip(next.rgb());
        let lit = first.rgb().iter().filter(|level| **level > 0).count();
        assert!(pairs.filter(|(one, other)| one != other).count() * 10 < lit);
    }
}

#[test]
fn a_square_stands_as_the_person_does() {
    let [hips, above] = [Point { x: 100.0, y: 100.0 }, Point { x: 140.0, y: 70.0 }];
    let roi = Roi::around(hips, above).unwrap();
    assert!((roi.side - 125.0).abs() < 1e-3);
    let up = roi.place(0.5, 0.5 - 50.0 / 125.0);
    assert!((up.x - above.x).abs() < 1e-3 && (up.y - above.y).abs() < 1e-3, "{up:?}");
    assert_eq!(Roi::around(hips, hips), None);
    assert_eq!(Roi::around(hips, Point { x: f32::NAN, y: 0.0 }), None);
    assert_eq!(Roi::around(hips, Point { x: f32::MAX, y: f32::MAX }), None);
}

#[test]
fn what_is_in_the_square_is_cut_out_upright() {
    let mut rgb = vec![0; 3 * 64 * 64];
    let place = |x: usize, y: usize| 3 * (64 * y + x);
    for (x, y) in [(31, 20), (32, 20), (31, 21), (32, 21)] {
        rgb[place(x, y)] = 200;
    }
    let picture = Picture::new(64, 64, rgb).unwrap();
    let center = Point { x: 32.0, y: 32.0 };
    let upright = Roi { center, side: 64.0, angle: 0.0 }.cut(&picture, 64);
    assert!(upright == picture.rgb());
    // What is above who lies to the right is at the left of them.
    let angle = std::f32::consts::FRAC_PI_2;
    let turned = Roi { center, side: 64.0, angle }.cut(&picture, 64);
    assert_eq!(turned[place(20, 31)], 200);
    let away = Roi { center: Point { x: -500.0, y: 0.0 }, side: 64.0, angle: 0.0 };
    assert!(away.cut(&picture, 16).iter().all(|level| *level == 0));
}

#[test]
fn detections_are_read_in_both_forms() {
    let mut row = vec![0.0; 57];
    row[6 + 3 * 4..][..3].copy_from_slice(&[11.0, 12.0, 0.75]);
    let flat = Tensor::new([1, 57], row.clone());
    assert_eq!(detections(&[flat]).unwrap()[0][4], [11.0, 12.0, 0.75]);
    assert_eq!(detections(&[Tensor::new([0, 57], vec![])]).unwrap().len(), 0);
    let joints = Tensor::new([1, 2, 17, 3], [&row[6..], &row[6..]].concat());
    let count = |count: f32| Tensor::new([1, 1], vec![count]);
    let found = |number| detections(&[count(number), joints.clone()]).unwrap().len();
    assert_eq!([0.0, 1.0, 2.0, 1e30, -1.0, f32::NAN].map(found), [0, 1, 2, 2, 0, 0]);
    assert!(detections(&[joints]).is_none(), "without a count");
    assert!(detections(&[Tensor::new([1, 56], vec![0.0; 56])]).is_none());
    assert!(detections(&[]).is_none());
}
