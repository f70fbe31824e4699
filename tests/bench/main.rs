//! Measurements that take too long, or say too little on a busy machine, to be tests: `./dev bench NAME`. Each prints
//! its figures beside the bar they are held to, and ends with status 1 when one misses it.

mod age;
mod crash;
mod load;
mod media;
mod soak;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let verdicts = match name.as_str() {
        "media" => media::run(),
        "age" => age::run(),
        "crash" => crash::run(),
        "load" => load::run(),
        "soak" => soak::run(),
        _ => {
            eprintln!("usage: bench media | age | crash | load | soak");
            return ExitCode::from(2);
        }
    };
    for verdict in &verdicts {
        println!("{verdict}");
    }
    ExitCode::from(u8::from(verdicts.iter().any(|verdict| !verdict.is_met())))
}

/// A figure and its bar: at most so much.
struct Verdict {
    what: String,
    figure: f64,
    at_most: f64,
    unit: &'static str,
}

impl Verdict {
    fn new(what: impl Into<String>, figure: f64, at_most: f64, unit: &'static str) -> Self {
        Self { what: what.into(), figure, at_most, unit }
    }

    fn is_met(&self) -> bool {
        self.figure <= self.at_most
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, figure, at_most, unit } = self;
        let mark = if self.is_met() { "ok  " } else { "MISS" };
        write!(f, "{mark} {what}: {figure:.1} {unit} (bar: at most {at_most} {unit})")
    }
}
