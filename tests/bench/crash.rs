//! The server killed 200 times at random moments: nothing that it answered may be lost or doubled.

use crate::Verdict;
use std::time::{SystemTime, UNIX_EPOCH};
use tests::crash;

const ROUNDS: u64 = 200;
/// Set it to repeat the operations of an earlier run; how they meet the kills differs all the same.
const SEED: &str = "CRASH_SEED";

pub fn run() -> Vec<Verdict> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(now.as_secs());
    println!("{SEED}={seed}");
    let counts = crash::run(ROUNDS, seed);
    println!("{counts:#?}");
    vec![
        Verdict::new("streams or changes lost", counts.lost as f64, 0.0, "of them"),
        Verdict::new("streams doubled", counts.doubled as f64, 0.0, "of them"),
    ]
}
