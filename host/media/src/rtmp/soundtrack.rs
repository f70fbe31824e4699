//! The audio of a stream on its way out: the publisher's, or silence where there is none, since many platforms take no
//! stream without an audio track.

use super::flv;
use crate::unit::AudioFormat;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A publisher's audio that does not come for this long has ended, or there is none: until then a receiver that will hear
/// it is not told of another kind first.
const GAP: Duration = Duration::from_secs(1);

/// AAC-LC, 48 kHz, stereo.
const SILENCE_CONFIG: [u8; 2] = [0x11, 0x90];

/// A pair of channels without any scale factor bands, and the end: 46 bits of ISO 14496-3, 4.4.2.
const SILENCE: [u8; 6] = [0x21, 0, 0, 0, 0, 0x1c];

/// 1024 samples.
const FRAME: Duration = Duration::from_nanos(21_333_333);

pub(crate) struct Soundtrack {
    /// AudioSpecificConfig that the receiver knows.
    config: Option<Arc<[u8]>>,
    silence: Arc<[u8]>,
    heard_at: Instant,
    /// Up to where there is sound.
    until: Duration,
}

impl Soundtrack {
    /// Begins with the video.
    pub fn new(start: Duration, now: Instant) -> Self {
        Self { config: None, silence: SILENCE_CONFIG.into(), heard_at: now, until: start }
    }

    /// Sends a packet of the publisher's, unless it would lie before one that was sent.
    pub fn sound(
        &mut self,
        (format, data): (&AudioFormat, &[u8]),
        time: Duration,
        now: Instant,
        mut send: impl FnMut(Duration, Vec<u8>),
    ) {
        self.heard_at = now;
        if time < self.until {
            return;
        }
        self.announce(&format.config, time, &mut send);
        send(time, flv::audio_frame(data));
        // Packets may come a little early; they must only not go back.
        self.until = time + Duration::from_millis(1);
    }

    /// Fills what is without sound until a frame of video.
    pub fn silence(
        &mut self,
        time: Duration,
        now: Instant,
        mut send: impl FnMut(Duration, Vec<u8>),
    ) {
        if now.saturating_duration_since(self.heard_at) < GAP {
            return;
        }
        // What nobody was sent for longer need not be made up for.
        self.until = self.until.max(time.saturating_sub(2 * GAP));
        let silence = self.silence.clone();
        while self.until <= time {
            self.announce(&silence, self.until, &mut send);
            send(self.until, flv::audio_frame(&SILENCE));
            self.until += FRAME;
        }
    }

    fn announce(
        &mut self,
        config: &Arc<[u8]>,
        time: Duration,
        send: &mut impl FnMut(Duration, Vec<u8>),
    ) {
        if self.config.as_ref() != Some(config) {
            self.config = Some(config.clone());
            send(time, flv::audio_header(config));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::AudioCodec;

    fn format() -> AudioFormat {
        let config = [0x12, 0x10][..].into();
        AudioFormat { codec: AudioCodec::Aac, rate: 44_100, channels: 2, config }
    }

    #[test]
    fn silence_keeps_up_with_the_video_and_is_announced_once() {
        let (now, mut sent) = (Instant::now(), Vec::new());
        let mut track = Soundtrack::new(Duration::ZERO, now);
        for frame in 0..=60 {
            let time = Duration::from_millis(33 * frame);
            track.silence(time, now + time, |time, tag| sent.push((time.as_millis(), tag)));
            assert_eq!(sent.is_empty(), time < GAP, "a second is given to the publisher's");
        }
        assert_eq!(sent[0].1, [&[0xaf, 0], &SILENCE_CONFIG[..]].concat());
        assert!(sent[1..].iter().all(|(_, tag)| tag[1] == 1), "one header");
        assert_eq!(sent.len(), 1 + 93, "1980 ms of 21.3 each");
        assert!(sent.is_sorted_by_key(|(time, _)| *time));
    }

    #[test]
    fn a_publishers_sound_takes_the_place_of_silence_and_gives_it_back() {
        let (now, mut sent) = (Instant::now(), Vec::new());
        let mut send = |time: Duration, tag: Vec<u8>| sent.push((time.as_millis(), tag));
        let ms = Duration::from_millis;
        let mut track = Soundtrack::new(ms(1000), now - GAP);
        track.silence(ms(1000), now, &mut send);
        track.sound((&format(), &[1]), ms(1010), now, &mut send);
        track.sound((&format(), &[2]), ms(1030), now, &mut send);
        track.sound((&format(), &[3]), ms(1050), now, &mut send);
        track.silence(ms(1100), now + ms(999), &mut send);
        track.silence(ms(2040), now + ms(1000), &mut send);
        let first: Vec<_> =
            sent.iter().take(6).map(|(time, tag)| (*time, tag[1], tag[2])).collect();
        let expected = [
            (1000, 0, 0x11),
            (1000, 1, 0x21),
            (1030, 0, 0x12),
            (1030, 1, 2),
            (1050, 1, 3),
            (1051, 0, 0x11),
        ];
        assert_eq!(first, expected);
        assert!(sent.is_sorted_by_key(|(time, _)| *time));
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let (now, mut count) = (Instant::now(), 0);
        let mut track = Soundtrack::new(Duration::ZERO, now - GAP);
        track.silence(Duration::from_secs(3600), now, |_, _| count += 1);
        assert!(count < 100, "{count}");
    }
}
