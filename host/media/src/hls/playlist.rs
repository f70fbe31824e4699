//! A window of segments and their parts, and the playlists that name them. Pure: what the cutter makes goes in.

use crate::fmp4::{CLOCK, Init, Made, Part};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

/// The playlist that a client is pointed to, and the one that this points to.
pub(crate) const INDEX: &str = "index.m3u8";
pub(crate) const MEDIA: &str = "stream.m3u8";

/// Seconds that no segment exceeds, rounded.
const TARGET: u64 = 2;
/// Seconds that parts do not exceed: at 30 frames a second they have 7, and one where the last frame is shown again.
pub(crate) const PART_TARGET: f64 = 0.25;
/// How far a client should stay behind what it knows of. Three parts are the least; with one more, a part that comes late
/// does not stop the picture. After that hls.js stays a second further back.
const PART_HOLD_BACK: f64 = 4.0 * PART_TARGET;
/// Whole segments are listed for at least so long; the protocol asks for three times the target.
const WINDOW: u64 = 8 * CLOCK as u64;
/// Gone from the list, they can still be fetched by clients that have an older one.
const UNLISTED: usize = 2;
/// Parts of so many last segments are listed; nobody plays further behind by parts.
const WITH_PARTS: usize = 3;
/// Of all segments. A window is some MB; this is for what no encoder should make.
const MOST_BYTES: usize = 64 << 20;
/// What a player should expect beyond what was measured.
const HEADROOM: f64 = 1.2;

/// Where the numbers of an earlier playlist of the same stream ended, so that they never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    segment: u64,
    discontinuities: u64,
}

/// What a client asks to wait for: a whole segment, or one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    pub segment: u64,
    pub part: Option<u64>,
}

pub(crate) struct Playlist {
    /// Begins all names, so that none means something else later.
    tag: String,
    /// The last one is in the making, unless it is done.
    segments: VecDeque<Segment>,
    /// Of the next segment, and of discontinuities before the first one.
    next: Numbers,
    init: Option<(u64, Arc<Init>)>,
    inits: u64,
    parts: u64,
}

struct Segment {
    number: u64,
    init: (u64, Arc<Init>),
    /// Another init segment or timeline than before.
    is_discontinuous: bool,
    is_done: bool,
    /// Each with its number among all.
    parts: Vec<(u64, Part)>,
}

impl Segment {
    fn ticks(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.ticks).sum()
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.data.len()).sum()
    }
}

impl Playlist {
    pub fn new(tag: String, next: Numbers) -> Self {
        Self { tag, segments: VecDeque::new(), next, init: None, inits: 0, parts: 0 }
    }

    /// What the next playlist of this stream goes on from, once this one is cleared.
    pub fn numbers(&self) -> Numbers {
        self.next
    }

    /// Lets go of all there is to fetch.
    pub fn clear(&mut self) {
        let kept = self.segments.iter().filter(|segment| segment.is_discontinuous).count() as u64;
        self.next.discontinuities += kept + 1;
        self.segments.clear();
        self.init = None;
    }

    pub fn take(&mut self, made: Made) {
        match made {
            Made::Init(init) => {
                self.init = Some((self.inits, init));
                self.inits += 1;
            }
            Made::Part(part) => self.add(part),
            Made::SegmentEnd => {
                if let Some(segment) = self.segments.back_mut() {
                    segment.is_done = true;
                }
                self.shorten();
            }
        }
    }

    /// Whether a client finds anything to play: a playlist without a whole segment confuses those without low latency.
    pub fn is_ready(&self) -> bool {
        self.segments.front().is_some_and(|segment| segment.is_done)
    }

    pub fn has(&self, awaited: Awaited) -> bool {
        match (self.segments.back(), awaited.part) {
            (None, _) => false,
            (Some(last), _) if last.number != awaited.segment => last.number > awaited.segment,
            (Some(last), None) => last.is_done,
            // A part beyond the last one is the first of the next segment.
            (Some(last), Some(part)) => (last.parts.len() as u64) > part,
        }
    }

    /// Whether it will be there in due time: nothing that is further away than the segment after the next.
    pub fn may_wait_for(&self, awaited: Awaited) -> bool {
        awaited.segment <= self.next.segment + 1 && awaited.part.is_none_or(|part| part < 100)
    }

    pub fn multivariant(&self) -> Option<String> {
        let (_, init) = self.init.as_ref()?;
        let whole = self.segments.iter().filter(|segment| segment.is_done);
        let rate = |segment: &Segment| {
            segment.bytes() as f64 * 8.0 * f64::from(CLOCK) / segment.ticks().max(1) as f64
        };
        let (mut peak, mut sum, mut count) = (0.0_f64, 0.0, 0);
        for rate in whole.map(rate) {
            (peak, sum, count) = (peak.max(rate), sum + rate, count + 1);
        }
        Some(format!(
            "#EXTM3U\n#EXT-X-VERSION:9\n\
             #EXT-X-STREAM-INF:BANDWIDTH={:.0},AVERAGE-BANDWIDTH={:.0},CODECS=\"{}\",RESOLUTION={}\n{MEDIA}\n",
            (peak * HEADROOM).max(1.0),
            (sum / f64::from(count.max(1))).max(1.0),
            init.codecs,
            init.size,
        ))
    }

    /// The media playlist.
    pub fn text(&self) -> String {
        let listed: Vec<_> = self.segments.iter().skip(self.unlisted()).collect();
        let first = listed.first().map_or(self.next.segment, |segment| segment.number);
        // The first one's is told by the number, not by a tag.
        let gone = self.segments.iter().take(self.unlisted() + 1);
        let gone = gone.filter(|segment| segment.is_discontinuous).count() as u64;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{TARGET}\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={PART_HOLD_BACK:.3}\n\
             #EXT-X-PART-INF:PART-TARGET={PART_TARGET:.3}\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            self.next.discontinuities + gone
        );
        let mut init = None;
        for (index, segment) in listed.iter().enumerate() {
            if segment.is_discontinuous && index > 0 {
                text += "#EXT-X-DISCONTINUITY\n";
            }
            if init != Some(segment.init.0) {
                init = Some(segment.init.0);
                let name = self.name("init", segment.init.0);
                line(&mut text, format_args!("#EXT-X-MAP:URI=\"{name}\""));
            }
            self.list(&mut text, segment, index + WITH_PARTS >= listed.len());
        }
        let next = self.name("part", self.parts);
        line(&mut text, format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{next}\""));
        text
    }

    /// Whether it is announced, and not there yet.
    pub fn is_next(&self, name: &str) -> bool {
        self.number_in(name) == Some(("part", self.parts))
    }

    pub fn find(&self, name: &str) -> Option<Arc<[u8]>> {
        let (kind, number) = self.number_in(name)?;
        match kind {
            "init" => {
                let mut inits = self.segments.iter().map(|segment| &segment.init);
                inits.find(|(each, _)| *each == number).map(|(_, init)| init.bytes.clone())
            }
            "seg" => self.segment(number),
            "part" => self.part(number),
            _ => None,
        }
    }

    fn add(&mut self, part: Part) {
        if self.segments.back().is_none_or(|segment| segment.is_done) {
            let Some(init) = self.init.clone() else { return };
            let before = self.segments.back();
            let is_discontinuous = before.is_some_and(|segment| segment.init.0 != init.0);
            let number = self.next.segment;
            let (is_done, parts) = (false, Vec::new());
            self.segments.push_back(Segment { number, init, is_discontinuous, is_done, parts });
            self.next.segment += 1;
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.parts.push((self.parts, part));
            self.parts += 1;
        }
    }

    fn shorten(&mut self) {
        while self.unlisted() > UNLISTED || self.bytes() > MOST_BYTES {
            let Some(gone) = self.segments.pop_front() else { return };
            self.next.discontinuities += u64::from(gone.is_discontinuous);
        }
    }

    fn bytes(&self) -> usize {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// How many segments at the begin are not listed any more.
    fn unlisted(&self) -> usize {
        let mut listed = 0;
        let newest_first = self.segments.iter().rev().skip_while(|segment| !segment.is_done);
        let is_needed = |segment: &&Segment| {
            let is_needed = listed < WINDOW;
            listed += segment.ticks();
            is_needed
        };
        let whole = newest_first.take_while(is_needed).count();
        let open = self.segments.iter().filter(|segment| !segment.is_done).count();
        self.segments.len() - whole - open
    }

    fn list(&self, text: &mut String, segment: &Segment, has_parts: bool) {
        if has_parts {
            for (number, part) in &segment.parts {
                let independent = if part.is_independent { ",INDEPENDENT=YES" } else { "" };
                let (seconds, name) = (seconds(part.ticks), self.name("part", *number));
                line(
                    text,
                    format_args!("#EXT-X-PART:DURATION={seconds:.3},URI=\"{name}\"{independent}"),
                );
            }
        }
        if segment.is_done {
            let name = self.name("seg", segment.number);
            line(text, format_args!("#EXTINF:{:.3},\n{name}", seconds(segment.ticks())));
        }
    }

    fn name(&self, kind: &str, number: u64) -> String {
        format!("{}_{kind}{number}.mp4", self.tag)
    }

    fn number_in<'n>(&self, name: &'n str) -> Option<(&'n str, u64)> {
        let rest = name.strip_prefix(self.tag.as_str())?.strip_prefix('_')?.strip_suffix(".mp4")?;
        let kind = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        // As they are written, so that one thing has one name.
        let number = rest[kind.len()..].parse().ok()?;
        (self.name(kind, number) == name).then_some((kind, number))
    }

    fn segment(&self, number: u64) -> Option<Arc<[u8]>> {
        let segment = self.segments.iter().find(|segment| segment.number == number)?;
        let parts = segment.is_done.then_some(&segment.parts)?;
        let parts: Vec<&[u8]> = parts.iter().map(|(_, part)| &*part.data).collect();
        Some(parts.concat().into())
    }

    fn part(&self, number: u64) -> Option<Arc<[u8]>> {
        let mut parts = self.segments.iter().flat_map(|segment| &segment.parts);
        parts.find(|(each, _)| *each == number).map(|(_, part)| part.data.clone())
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A `String` takes all that is written to it.
    let _ = writeln!(text, "{line}");
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / f64::from(CLOCK)
}

#[cfg(test)]
#[path = "playlist_tests.rs"]
mod tests;
