//! Measurements that take too long, or say too little on a busy machine, to be tests: `./dev bench NAME`. Each prints
//! its figures beside the bar they are held to, and ends with status 1 when one misses it.

mod age;
mod avsync;
mod beside_pytorch;
mod crash;
mod demo;
mod diffusion;
mod doors;
mod fanout;
mod load;
mod media;
mod processors;
mod rtsp;
mod soak;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let verdicts = match name.as_str() {
        "media" => media::run(),
        "age" => age::run(),
        "avsync" => avsync::run(),
        "crash" => crash::run(),
        "demo" => demo::run(),
        "diffusion" => diffusion::run(),
        "doors" => doors::run(),
        "fanout" => fanout::run(),
        "load" => load::run(),
        "processors" => processors::run(),
        "rtsp" => rtsp::run(),
        "soak" => soak::run(),
        _ => {
            eprintln!(
                "usage: bench media | age | avsync | crash | demo | diffusion | doors | fanout | load | processors | rtsp | soak"
            );
            return ExitCode::from(2);
        }
    };
    for verdict in &verdicts {
        println!("{verdict}");
    }
    ExitCode::from(u8::from(verdicts.iter().any(|verdict| !verdict.is_met())))
}

/// A figure and its bar.
struct Verdict {
    what: String,
    figure: f64,
    bar: Bar,
    unit: &'static str,
}

enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    /// At most so much.
    fn new(what: impl Into<String>, figure: f64, at_most: f64, unit: &'static str) -> Self {
        Self { what: what.into(), figure, bar: Bar::AtMost(at_most), unit }
    }

    fn at_least(what: impl Into<String>, figure: f64, least: f64, unit: &'static str) -> Self {
        Self { what: what.into(), figure, bar: Bar::AtLeast(least), unit }
    }

    fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtMost(most) => self.figure <= most,
            Bar::AtLeast(least) => self.figure >= least,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, figure, unit, .. } = self;
        let mark = if self.is_met() { "ok  " } else { "MISS" };
        let bar = match self.bar {
            Bar::AtMost(most) => format!("at most {most}"),
            Bar::AtLeast(least) => format!("at least {least}"),
        };
        write!(f, "{mark} {what}: {figure:.1} {unit} (bar: {bar} {unit})")
    }
}
