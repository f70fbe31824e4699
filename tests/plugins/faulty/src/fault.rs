//! What can go wrong, and doing it.

use crate::SLOW;
use plugin_api::{Error, FrameFormat};
use rustix::fs::{Mode, OFlags};
use serde_json::{Map, Value};
use std::thread;
use std::time::Duration;

/// What `close_descriptors` closes: all but the standard ones.
const DESCRIPTORS: std::ops::Range<i32> = 3..1024;
/// What `leak` keeps for ever at each call, in bytes.
const LEAK_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Plan,
    Open,
    Update,
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Panic,
    Abort,
    AbortElsewhere,
    Segfault,
    Hang,
    Exit,
    CloseDescriptors,
    TruncateMemory,
    WrongSize,
    Error,
    Leak,
    Slow,
}

/// The params, read.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub format: FrameFormat,
    pub fault: Fault,
    phase: Phase,
    pub at_frame: u64,
    pub delay: Duration,
    /// How much longer loading takes.
    pub loading: Duration,
    /// What every pixel becomes; 0 leaves the picture.
    pub mark: u64,
}

impl Wishes {
    pub fn read(values: &Map<String, Value>) -> Result<Self, Error> {
        let side = |name| {
            u32::try_from(number(values, name, 64)?)
                .ok()
                .filter(|side| (8..=2048).contains(side))
                .ok_or_else(|| Error::invalid(format!("`{name}` must be 8 to 2048")))
        };
        Ok(Self {
            format: FrameFormat::new(side("width")?, side("height")?),
            fault: fault(text(values, "fault", "none")?)?,
            phase: phase(text(values, "phase", "process")?)?,
            at_frame: number(values, "at_frame", 1)?,
            delay: Duration::from_millis(number(values, "delay_ms", 0)?),
            loading: Duration::from_millis(number(values, "load_ms", 0)?),
            mark: number(values, "mark", 0)?,
        })
    }

    /// Goes wrong if this is the phase for it.
    pub fn fail_in(&self, phase: Phase) -> Result<(), Error> {
        if phase != self.phase {
            return Ok(());
        }
        match self.fault {
            // The wrong size is told by `formats`.
            Fault::None | Fault::WrongSize => {}
            Fault::Panic => panic!("told to panic"),
            Fault::Abort => std::process::abort(),
            // On a thread that the host knows nothing of.
            Fault::AbortElsewhere => drop(thread::spawn(|| std::process::abort()).join()),
            Fault::Segfault => segfault(),
            Fault::Hang => loop {
                thread::park();
            },
            Fault::Exit => std::process::exit(3),
            Fault::CloseDescriptors => close_descriptors(),
            Fault::TruncateMemory => return truncate_memory(),
            Fault::Error => return Err(Error::new("told to fail")),
            Fault::Leak => drop(Box::leak(vec![1u8; LEAK_BYTES].into_boxed_slice())),
            Fault::Slow => thread::sleep(SLOW),
        }
        Ok(())
    }
}

fn text<'a>(
    values: &'a Map<String, Value>,
    name: &str,
    default: &'a str,
) -> Result<&'a str, Error> {
    let value = values.get(name).map_or(Some(default), Value::as_str);
    value.ok_or_else(|| Error::invalid(format!("`{name}` must be a text")))
}

fn number(values: &Map<String, Value>, name: &str, default: u64) -> Result<u64, Error> {
    let value = values.get(name).map_or(Some(default), Value::as_u64);
    value.ok_or_else(|| Error::invalid(format!("`{name}` must be a whole number, 0 or more")))
}

fn phase(name: &str) -> Result<Phase, Error> {
    Ok(match name {
        "plan" => Phase::Plan,
        "open" => Phase::Open,
        "update" => Phase::Update,
        "process" => Phase::Process,
        _ => return Err(Error::invalid("`phase` must be plan, open, update or process")),
    })
}

fn fault(name: &str) -> Result<Fault, Error> {
    Ok(match name {
        "none" => Fault::None,
        "panic" => Fault::Panic,
        "abort" => Fault::Abort,
        "abort_elsewhere" => Fault::AbortElsewhere,
        "segfault" => Fault::Segfault,
        "hang" => Fault::Hang,
        "exit" => Fault::Exit,
        "close_descriptors" => Fault::CloseDescriptors,
        "truncate_memory" => Fault::TruncateMemory,
        "wrong_size" => Fault::WrongSize,
        "error" => Fault::Error,
        "leak" => Fault::Leak,
        "slow" => Fault::Slow,
        _ => return Err(Error::invalid(format!("`fault` {name:?} is unknown"))),
    })
}

#[allow(unsafe_code)]
fn segfault() {
    let nowhere = std::hint::black_box(8usize) as *mut u8;
    // SAFETY: none; the write faults, which is what was asked for.
    unsafe { nowhere.write_volatile(1) }
}

#[allow(unsafe_code)]
fn close_descriptors() {
    let is_open =
        |number: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    for number in DESCRIPTORS.filter(is_open) {
        // SAFETY: none; closing what others own is what was asked for.
        unsafe { rustix::io::close(number) }
    }
}

/// Tries to cut the shared frame memory off under the host: by every descriptor that shows it, and by its mapping.
fn truncate_memory() -> Result<(), Error> {
    let mut tried = Vec::new();
    for folder in ["/proc/self/fd", "/proc/self/map_files"] {
        for entry in std::fs::read_dir(folder)?.flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            if !target.to_string_lossy().starts_with("/memfd:") {
                continue;
            }
            let outcome = rustix::fs::open(entry.path(), OFlags::RDWR, Mode::empty())
                .and_then(|file| rustix::fs::ftruncate(file, 0));
            tried.push(format!("{}: {outcome:?}", entry.path().display()));
        }
    }
    Err(Error::new(format!("tried to truncate the memory: {tried:?}")))
}
