//! The classical image processors beside OpenCV's Python package, one thread each, in turns.

use crate::Verdict;
use crate::beside_pytorch::python;
use plugin_processors::blur::blur;
use plugin_processors::canny::canny;
use plugin_processors::params::Checked;
use plugin_processors::picture::Picture;
use plugin_processors::sharpen::sharpen;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use tests::libraries::root;

const SIDE: usize = 512;
/// The best of all counts, as what was disturbed least.
const ROUNDS: usize = 5;
const TIMES: usize = 100;
/// In percent of OpenCV's time.
const BAR: f64 = 150.0;

pub fn run() -> Vec<Verdict> {
    let folder = tempfile::tempdir().expect("a folder for the picture");
    let (picture, file) = (picture(), folder.path().join("picture.rgb"));
    std::fs::write(&file, picture.rgb()).expect("the picture is written");
    let mut own: BTreeMap<String, f64> = BTreeMap::new();
    let mut opencv = BTreeMap::new();
    for _ in 0..ROUNDS {
        keep_best(&mut own, measure(&picture));
        keep_best(&mut opencv, peer(&file));
    }
    let verdict = |(name, own): (&String, &f64)| {
        let opencv = opencv[name];
        println!("{name}: {own:.3} ms, OpenCV's {opencv:.3} ms");
        Verdict::new(format!("{name}, time beside OpenCV's"), 100.0 * own / opencv, BAR, "%")
    };
    own.iter().map(verdict).collect()
}

/// A plain gradient, discs on it, and noise on its right half.
fn picture() -> Picture {
    let mut random = 1_u32;
    let mut rgb = Vec::with_capacity(3 * SIDE * SIDE);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let from_center = (x % 128).abs_diff(64).pow(2) + (y % 128).abs_diff(64).pow(2);
            let disc = if from_center < 40 * 40 { 90 } else { 0 };
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = if x < SIDE / 2 { 0 } else { (random >> 26) as usize };
            rgb.extend(
                [x / 6 + disc + noise, y / 6 + disc + noise, 40 + disc].map(|level| level as u8),
            );
        }
    }
    Picture::new(SIDE, SIDE, rgb).expect("a picture of that size")
}

fn measure(picture: &Picture) -> BTreeMap<String, f64> {
    let time = |name: &str, process: &dyn Fn() -> Picture| {
        let once = || {
            let start = Instant::now();
            std::hint::black_box(process());
            start.elapsed().as_secs_f64() * 1000.0
        };
        (name.to_owned(), (0..TIMES).map(|_| once()).fold(f64::INFINITY, f64::min))
    };
    let (edges, soft, sharp) = (Checked::default(), Checked::default(), Checked::default());
    let times = [
        time("canny", &|| canny(picture, &edges)),
        time("blur", &|| blur(picture, &soft)),
        time("sharpen", &|| sharpen(picture, &sharp)),
    ];
    times.into_iter().collect()
}

fn peer(picture: &Path) -> BTreeMap<String, f64> {
    let mut command = python();
    command.arg(root().join("tests/bench/opencv_peer.py")).arg(picture);
    command.args([SIDE.to_string(), TIMES.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().expect("Python starts");
    assert!(output.status.success(), "the peer failed");
    let figures: BTreeMap<String, Value> =
        serde_json::from_slice(&output.stdout).expect("an object of JSON");
    let number = |(name, figure): (_, Value)| (name, figure.as_f64().expect("a number"));
    figures.into_iter().map(number).collect()
}

fn keep_best(best: &mut BTreeMap<String, f64>, times: BTreeMap<String, f64>) {
    for (name, time) in times {
        let best = best.entry(name).or_insert(f64::INFINITY);
        *best = best.min(time);
    }
}
