//! Cuts a path's units into fragments, and these into segments. Pure: units go in, what is to be kept or sent comes out.
//!
//! A run is what one init segment leads: it begins with a key frame, at time 0, and ends where the parameter sets or the
//! audio change, or frames stay away. Runs follow each other as discontinuities, or as files of their own.

use super::fragment::{Sample, Samples, write};
use super::frame::{Frame, ParameterSets};
use super::{CLOCK, Init};
use crate::unit::{AudioFormat, Track, Unit};
use std::sync::Arc;

/// What a frame lasts whose successor came too late.
const LAST_FRAME: u64 = CLOCK as u64 / 30;
/// A segment ends here also without a key frame.
const LONGEST_SEGMENT: u64 = CLOCK as u64 * 3 / 2;
/// Without a packet for so long there is no audio.
const AUDIO_GONE: u64 = CLOCK as u64;
/// Between two requests for the same key frame.
const ASK_AGAIN: u64 = CLOCK as u64 * 2 / 5;
/// Samples in a packet of AAC.
const AAC_FRAME: u32 = 1024;

/// Where to cut, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cuts {
    /// A fragment is no longer, unless one frame is.
    pub part: u64,
    /// From here on a key frame is asked for, and begins the next segment.
    pub segment: u64,
    /// A frame that would last longer ends its run.
    pub longest_frame: u64,
}

#[derive(Debug)]
pub(crate) enum Made {
    /// Leads all that follows.
    Init(Arc<Init>),
    Part(Part),
    /// What comes next belongs to another segment.
    SegmentEnd,
}

#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub data: Arc<[u8]>,
    pub ticks: u64,
    /// Begins with a key frame.
    pub is_independent: bool,
}

pub(crate) struct Cutter {
    cuts: Cuts,
    run: Option<Run>,
    /// The audio that comes now, and when it last came.
    heard: Option<(Arc<AudioFormat>, u64)>,
    /// When a key frame was last asked for.
    asked: Option<u64>,
    sequence: u32,
    made: Vec<Made>,
}

struct Run {
    init: Arc<Init>,
    /// Part of it was handed over: the tracks stay as they are.
    is_told: bool,
    origin: u64,
    /// Waits for the next frame, which says how long this one lasts.
    held: Held,
    video: Samples,
    audio: Samples,
    /// Where the audio goes on.
    audio_end: Option<u64>,
    part: u64,
    segment: u64,
}

struct Held {
    at: u64,
    data: Vec<u8>,
    is_key: bool,
}

impl Cutter {
    pub fn new(cuts: Cuts) -> Self {
        let (run, heard, asked, made) = (None, None, None, Vec::new());
        Self { cuts, run, heard, asked, sequence: 0, made }
    }

    /// Takes the next unit and gives what it completes.
    pub fn push(&mut self, unit: &Unit) -> Vec<Made> {
        match &unit.track {
            Track::Audio(format) => self.audio(format, unit),
            Track::Video(_) => self.video(unit),
        }
        std::mem::take(&mut self.made)
    }

    /// What was begun, as far as it came.
    pub fn finish(&mut self) -> Vec<Made> {
        self.end_run(LAST_FRAME);
        std::mem::take(&mut self.made)
    }

    /// Whether a key frame is due now, asked for not too often.
    pub fn wants_key_frame(&mut self, unit: &Unit) -> bool {
        let now = unit.ticks(CLOCK);
        let is_due = match &self.run {
            None => true,
            Some(run) => run.segment >= self.cuts.segment || run.init.audio != self.audio_now(now),
        };
        let is_patient = self.asked.is_some_and(|at| now.saturating_sub(at) < ASK_AGAIN);
        if is_due && !is_patient {
            self.asked = Some(now);
        }
        is_due && !is_patient
    }

    fn video(&mut self, unit: &Unit) {
        // Two frames may come within a tick.
        let least = self.run.as_ref().map_or(0, |run| run.held.at + 1);
        let now = unit.ticks(CLOCK).max(least);
        let frame = Frame::of(&unit.data);
        if frame.data.is_empty() {
            return;
        }
        if let Some(run) = &mut self.run {
            let ticks = now - run.held.at;
            if ticks > self.cuts.longest_frame {
                self.end_run(LAST_FRAME);
            } else {
                run.place_held(ticks);
            }
        }
        let held = Held { at: now, data: frame.data, is_key: unit.is_key_frame };
        let audio = self.audio_now(now);
        match (&mut self.run, frame.parameter_sets) {
            (Some(run), sets) if !unit.is_key_frame || run.suits(sets.as_ref(), audio.as_ref()) => {
                run.held = held;
                self.cut();
            }
            (_, Some(sets)) if unit.is_key_frame => {
                self.end_segment();
                self.begin_run(sets, audio, held);
            }
            // Nothing can be decoded before the parameter sets.
            _ => self.end_run(0),
        }
    }

    fn begin_run(&mut self, sets: ParameterSets, audio: Option<Arc<AudioFormat>>, held: Held) {
        self.run = match Init::new(sets, audio) {
            Ok(init) => Some(Run::new(Arc::new(init), held)),
            Err(error) => {
                tracing::error!(%error, "these pictures cannot be put into MP4");
                None
            }
        };
    }

    /// Ends a segment or a fragment before the frame that is held.
    fn cut(&mut self) {
        let Some(run) = &self.run else { return };
        let last = run.video.list.last().map_or(0, |sample| u64::from(sample.ticks));
        let is_segment = run.held.is_key && run.segment >= self.cuts.segment;
        if is_segment || run.segment >= LONGEST_SEGMENT {
            self.end_segment();
        } else if run.part + last > self.cuts.part {
            self.end_part();
        }
    }

    fn end_run(&mut self, ticks: u64) {
        if let Some(run) = &mut self.run {
            run.place_held(ticks);
            self.end_segment();
        }
        self.run = None;
    }

    fn end_segment(&mut self) {
        self.end_part();
        let Some(run) = &mut self.run else { return };
        if run.segment > 0 {
            run.segment = 0;
            self.made.push(Made::SegmentEnd);
        }
    }

    fn end_part(&mut self) {
        let Some(run) = &mut self.run else { return };
        if run.video.list.is_empty() {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let (ticks, is_independent) = (run.part, run.video.list[0].is_key);
        let written = write(self.sequence, &run.video, &run.audio);
        run.begin_part();
        let Ok(data) = written.inspect_err(|error| tracing::error!(%error, "fragment lost")) else {
            return;
        };
        if !std::mem::replace(&mut run.is_told, true) {
            self.made.push(Made::Init(run.init.clone()));
        }
        self.made.push(Made::Part(Part { data: data.into(), ticks, is_independent }));
    }

    fn audio(&mut self, format: &Arc<AudioFormat>, unit: &Unit) {
        let is_usable = format.rate > 0 && format.channels > 0 && !format.config.is_empty();
        let Some(run) = self.run.as_mut().filter(|_| is_usable) else { return };
        self.heard = Some((format.clone(), unit.ticks(CLOCK)));
        if run.init.audio.is_none() && !run.is_told {
            let sets = run.init.parameter_sets.clone();
            if let Ok(init) = Init::new(sets, Some(format.clone())) {
                run.init = Arc::new(init);
            }
        }
        if run.init.audio.as_ref() == Some(format) {
            run.place_audio(unit, format.rate);
        }
    }

    /// The format of the audio that there is at a moment.
    fn audio_now(&self, now: u64) -> Option<Arc<AudioFormat>> {
        let (format, at) = self.heard.as_ref()?;
        (now.saturating_sub(*at) <= AUDIO_GONE).then(|| format.clone())
    }
}

impl Run {
    fn new(init: Arc<Init>, held: Held) -> Self {
        Self {
            init,
            is_told: false,
            origin: held.at,
            held,
            video: Samples::default(),
            audio: Samples::default(),
            audio_end: None,
            part: 0,
            segment: 0,
        }
    }

    fn suits(&self, sets: Option<&ParameterSets>, audio: Option<&Arc<AudioFormat>>) -> bool {
        sets.is_none_or(|sets| *sets == self.init.parameter_sets)
            && self.init.audio.as_ref() == audio
    }

    fn place_held(&mut self, ticks: u64) {
        let data = std::mem::take(&mut self.held.data);
        if data.is_empty() || ticks == 0 {
            return;
        }
        if self.video.list.is_empty() {
            self.video.begin = self.held.at - self.origin;
        }
        self.part += ticks;
        self.segment += ticks;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.video.list.push(Sample { data, ticks, is_key: self.held.is_key });
    }

    /// Puts a packet behind the last one, whatever its time says by some milliseconds.
    fn place_audio(&mut self, unit: &Unit, rate: u32) {
        let origin = u128::from(self.origin) * u128::from(rate) / u128::from(CLOCK);
        // What was heard before the first picture is shown.
        let Some(at) = unit.ticks(rate).checked_sub(origin as u64) else { return };
        let tolerance = u64::from(rate / 10);
        let begin = match self.audio_end {
            Some(end) if at.abs_diff(end) <= tolerance => end,
            Some(end) if at < end => return,
            _ => at,
        };
        if let (Some(last), Some(end)) = (self.audio.list.last_mut(), self.audio_end) {
            last.ticks += u32::try_from(begin - end).unwrap_or_default();
        } else {
            self.audio.begin = begin;
        }
        self.audio_end = Some(begin + u64::from(AAC_FRAME));
        let data = unit.data.to_vec();
        self.audio.list.push(Sample { data, ticks: AAC_FRAME, is_key: true });
    }

    fn begin_part(&mut self) {
        self.video.list.clear();
        self.audio.list.clear();
        self.part = 0;
    }
}
