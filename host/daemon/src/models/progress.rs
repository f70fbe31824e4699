//! How far a pull is: a bar on a terminal, a line now and then elsewhere. All of it goes to stderr.

use crate::size::size;
use host_models::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::error::Error;

const TEMPLATE: &str =
    "{bar:24} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} {wide_msg}";

pub enum Progress {
    /// From the first byte on.
    Bar(Option<ProgressBar>),
    Lines(Lines),
}

/// Which line was written last.
#[derive(Default)]
pub struct Lines {
    file: String,
    tenth: u64,
}

impl Progress {
    pub fn new(is_terminal: bool) -> Self {
        if is_terminal { Self::Bar(None) } else { Self::Lines(Lines::default()) }
    }

    pub fn show(&mut self, event: Event<'_>) {
        match (self, event) {
            (Self::Bar(bar), Event::Progress { file, done, total }) => {
                // What was there before counts neither as speed nor as time.
                let bar = bar.get_or_insert_with(|| new_bar(total).with_position(done));
                bar.set_message(file.to_string());
                bar.set_position(done);
            }
            (Self::Bar(Some(bar)), event) => {
                let line = note(&event);
                bar.suspend(|| eprintln!("{line}"));
            }
            (Self::Lines(lines), Event::Progress { file, done, total }) => {
                if let Some(line) = lines.next(file.as_str(), done, total) {
                    eprintln!("{line}");
                }
            }
            (_, event) => eprintln!("{}", note(&event)),
        }
    }

    pub fn end(&self) {
        if let Self::Bar(Some(bar)) = self {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    /// A line for each file and for each tenth of all.
    fn next(&mut self, file: &str, done: u64, total: u64) -> Option<String> {
        let tenth = done.saturating_mul(10).checked_div(total).unwrap_or_default();
        if self.file == file && self.tenth == tenth {
            return None;
        }
        (self.file, self.tenth) = (file.to_owned(), tenth);
        Some(format!("{} of {}: {file}", size(done), size(total)))
    }
}

fn new_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).expect("a template of our own");
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style)
}

fn note(event: &Event<'_>) -> String {
    match event {
        Event::Waiting { lock } => {
            format!("waits for another pull of it, which holds {}", lock.display())
        }
        Event::Retrying { error, wait } => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}; next try in {:.1} s", wait.as_secs_f64())
        }
        Event::Progress { file, done, total } => {
            format!("{} of {}: {file}", size(*done), size(*total))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_there_is_a_line_for_each_file_and_each_tenth() {
        let mut lines = Lines::default();
        let steps = [("a", 0), ("a", 5), ("b", 6), ("b", 9), ("b", 10), ("b", 19), ("b", 100)];
        let written: Vec<_> =
            steps.into_iter().filter_map(|(file, done)| lines.next(file, done, 100)).collect();
        let wanted =
            ["0 B of 100 B: a", "6 B of 100 B: b", "10 B of 100 B: b", "100 B of 100 B: b"];
        assert_eq!(written, wanted);
        assert_eq!(Lines::default().next("empty", 0, 0).as_deref(), Some("0 B of 0 B: empty"));
    }
}
