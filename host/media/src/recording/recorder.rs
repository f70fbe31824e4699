//! One recording, from its first key frame to its end. Frames never wait for the disk: what it is too slow for is missing
//! in the recording, which goes on with the next key frame.

use super::RecordingConfig;
use super::files::{Folder, Unfinished, failed};
use crate::feed::Feed;
use crate::fmp4::{CLOCK, Cuts, Cutter, Made, Part};
use crate::server::Context;
use host_ports::{Pending, RecordError, Recording, RecordingEnd};
use std::io;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A crash loses no more than a part. Key frames are left to the encoder and the readers, and a pause is a long frame.
const CUTS: Cuts = Cuts { part: CLOCK as u64, segment: u64::MAX, longest_frame: u64::MAX };

/// Size or audio changed more often than anybody means to.
const MOST_FILES: usize = 100;

/// A recording from outside.
#[derive(Clone)]
pub(crate) struct Recorder {
    state: watch::Receiver<Recording>,
    stop: CancellationToken,
}

/// What is on the disk, and how much more may come.
struct Writer {
    folder: Folder,
    limits: RecordingConfig,
    file: Option<Unfinished>,
    told: Recording,
    ticks: u64,
}

/// Why nothing more is written.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("{0}")]
    NoRoom(String),
}

impl Recorder {
    /// Makes the folder, which may wait for the disk, and begins.
    pub fn start(feed: Feed, folder: Folder, context: &Context) -> Result<Self, RecordError> {
        folder.create().map_err(|error| failed(&error))?;
        let started_at = SystemTime::now();
        let told = Recording {
            name: name_of(started_at),
            started_at,
            length: Duration::ZERO,
            bytes: 0,
            files: Vec::new(),
            ended: None,
        };
        let limits = context.config.recordings.clone();
        let writer = Writer { folder, limits, file: None, told: told.clone(), ticks: 0 };
        let reason = writer.check_room().map_err(|stop| stop.to_string());
        reason.map_err(|reason| RecordError::NoRoom { reason })?;
        let (sender, state) = watch::channel(told);
        let stop = context.stopping.child_token();
        let runtime = feed.runtime.clone();
        context.recorders.spawn_on(record(feed, writer, sender, stop.clone()), &runtime);
        Ok(Self { state, stop })
    }

    pub fn told(&self) -> Recording {
        let told = self.state.borrow().clone();
        match told.ended {
            None if self.state.has_changed().is_err() => broken(told),
            _ => told,
        }
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// What it came to, once it has ended.
    pub fn ended(&self) -> Pending<Recording> {
        let mut state = self.state.clone();
        Box::pin(async move {
            let ended = state.wait_for(|recording| recording.ended.is_some()).await;
            let ended = ended.ok().map(|recording| recording.clone());
            ended.unwrap_or_else(|| broken(state.borrow().clone()))
        })
    }
}

/// Its task ended by a fault of ours.
fn broken(told: Recording) -> Recording {
    let reason = "the server failed at it; its log says more".to_owned();
    Recording { ended: Some(RecordingEnd::Failed(reason)), ..told }
}

/// Sorts by time, and suits file systems and URLs.
fn name_of(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}-{milli:03}Z")
}

async fn record(
    mut feed: Feed,
    mut writer: Writer,
    told: watch::Sender<Recording>,
    stop: CancellationToken,
) {
    let mut cutter = Cutter::new(CUTS);
    let end = loop {
        let unit = tokio::select! {
            unit = feed.next() => unit,
            () = stop.cancelled() => None,
        };
        let Some(unit) = unit else { break RecordingEnd::Stopped };
        let made = cutter.push(&unit);
        if cutter.wants_key_frame(&unit) {
            feed.want_key_frame();
        }
        if made.is_empty() {
            continue;
        }
        let (back, taken) = match on_disk(writer, move |writer| writer.take_all(made)).await {
            Some(done) => done,
            // The channel's end tells of it.
            None => return,
        };
        writer = back;
        told.send_replace(writer.told.clone());
        match taken {
            Ok(()) => {}
            Err(Stop::Limit(reason)) => break RecordingEnd::Limit(reason),
            Err(stop) => break RecordingEnd::Failed(stop.to_string()),
        }
    };
    // Nobody has to wait for the reader's place any more.
    drop(feed);
    let rest = if end == RecordingEnd::Stopped { cutter.finish() } else { Vec::new() };
    let Some((writer, finished)) = on_disk(writer, move |writer| writer.finish(rest)).await else {
        return;
    };
    let end = match finished {
        Err(stop @ (Stop::Disk(_) | Stop::NoRoom(_))) if end == RecordingEnd::Stopped => {
            RecordingEnd::Failed(stop.to_string())
        }
        _ => end,
    };
    if let RecordingEnd::Failed(reason) = &end {
        tracing::warn!(name = writer.told.name, reason, "recording failed");
    }
    told.send_replace(Recording { ended: Some(end), ..writer.told });
}

/// Does what may wait for the disk; none if that panicked.
async fn on_disk<T: Send + 'static>(
    mut writer: Writer,
    work: impl FnOnce(&mut Writer) -> T + Send + 'static,
) -> Option<(Writer, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut writer);
        (writer, done)
    });
    done.await.inspect_err(|error| tracing::error!(%error, "recording broke")).ok()
}

impl Writer {
    fn take_all(&mut self, made: Vec<Made>) -> Result<(), Stop> {
        for made in made {
            match made {
                Made::Init(init) => self.next_file(&init.bytes)?,
                Made::Part(part) => self.append(&part)?,
                Made::SegmentEnd => {}
            }
        }
        Ok(())
    }

    /// Writes what is left, and gives the last file its name in any case.
    fn finish(&mut self, rest: Vec<Made>) -> Result<(), Stop> {
        let written = self.take_all(rest);
        self.finish_file()?;
        written
    }

    fn next_file(&mut self, init: &[u8]) -> Result<(), Stop> {
        self.finish_file()?;
        let name = match self.told.files.len() {
            0 => self.told.name.clone(),
            MOST_FILES => return Err(Stop::Limit(format!("it has {MOST_FILES} files"))),
            before => format!("{}-{}", self.told.name, before + 1),
        };
        let mut file = self.folder.begin(&name)?;
        self.told.bytes += init.len() as u64;
        let written = file.write(init);
        self.file = Some(file);
        Ok(written?)
    }

    fn append(&mut self, part: &Part) -> Result<(), Stop> {
        let bytes = self.told.bytes + part.data.len() as u64;
        if bytes > self.limits.max_bytes {
            let limit = self.limits.max_bytes >> 20;
            return Err(Stop::Limit(format!("recordings end at {limit} MiB")));
        }
        self.check_room()?;
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write(&part.data)?;
        self.ticks += part.ticks;
        self.told.bytes = bytes;
        self.told.length = Duration::from_millis(self.ticks * 1000 / u64::from(CLOCK));
        if self.told.length >= self.limits.max_length {
            let limit = self.limits.max_length.as_secs();
            return Err(Stop::Limit(format!("recordings end after {limit} s")));
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), Stop> {
        let (free, floor) = (self.folder.free_bytes()?, self.limits.min_free_bytes);
        if free >= floor {
            return Ok(());
        }
        let [free, floor] = [free, floor].map(|bytes| bytes >> 20);
        Err(Stop::NoRoom(format!(
            "the disk has {free} MiB left, and recordings leave {floor} MiB to everything else"
        )))
    }

    fn finish_file(&mut self) -> Result<(), Stop> {
        let Some(file) = self.file.take() else { return Ok(()) };
        self.told.files.push(file.finish()?);
        Ok(())
    }
}
