//! Whole paths: publishers of one codec, readers of another.

use super::transcoder::tests::{decode, encode, first_of, share, tone};
use super::*;
use crate::codecs::Codec;
use crate::config::MediaConfig;
use crate::feed::Feed;
use crate::path::Path;
use crate::publisher::Publisher;
use crate::server::Media;
use crate::unit::{Track, Unit};
use host_ports::{
    Fit, Frame, FrameSize, FrameSlot, FrameStamp, IngressEvent, IngressSink, MediaPath, MediaServer,
};
use test_peer::PATIENCE;

/// Takes nothing: these publishers send sound alone.
struct Nowhere;

impl IngressSink for Nowhere {
    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        None
    }
    fn fit(&self) -> Fit {
        Fit::Crop
    }
    fn put(&self, _: Frame) {}
    fn on(&self, _: IngressEvent) {}
}

const SIZE: FrameSize = FrameSize::new(64, 64);

struct Grey(Vec<u8>);

impl FrameSlot for Grey {
    fn size(&self) -> FrameSize {
        SIZE
    }
    fn pixels(&self) -> &[u8] {
        &self.0
    }
    fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A path that shows something.
fn open() -> (Arc<Media>, Arc<Path>) {
    let config = MediaConfig { rtc_port: 0, ..MediaConfig::default() };
    let media = Media::start(config).unwrap();
    // The paths' table holds them weakly.
    let opened = media.open("sound", Arc::new(Nowhere));
    let path = media.paths.get("sound").unwrap();
    drop(opened);
    show(&path, Duration::ZERO);
    (media, path)
}

/// Shows a frame that took so long.
fn show(path: &Path, latency: Duration) {
    let stamp = FrameStamp { id: 1, captured_at: Instant::now().checked_sub(latency).unwrap() };
    path.show(Frame::new(stamp, Box::new(Grey(vec![128; SIZE.bytes()]))));
}

/// Sends a second of a tone over and over, in real time, until dropped.
struct Speaker(tokio::task::JoinHandle<()>);

impl Speaker {
    fn start(mut publisher: Publisher, codec: AudioCodec, hertz: f64) -> Self {
        let packets = encode(first_of(codec)[1], &tone(hertz, 0, 1000));
        Self(tokio::spawn(async move {
            let (started, mut time) = (Instant::now(), Duration::from_secs(1000));
            for packet in packets.iter().cycle() {
                time += Duration::from_nanos(packet.duration as u64);
                let due = started + time.checked_sub(Duration::from_secs(1000)).unwrap();
                tokio::time::sleep_until(due.into()).await;
                publisher.audio(&packet.format, packet.data.clone(), time, Instant::now());
            }
        }))
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// So many pieces of audio that a reader is given.
async fn listen(feed: &mut Feed, count: usize) -> Vec<Unit> {
    let mut units = Vec::new();
    let hear = async {
        while units.len() < count {
            let unit = feed.next().await.expect("the path is open");
            units.extend(matches!(unit.track, Track::Audio(_)).then_some(unit));
        }
    };
    tokio::time::timeout(PATIENCE, hear).await.expect("enough audio comes");
    assert!(units.is_sorted_by(|one, next| one.time < next.time), "time goes back");
    units
}

/// How much of what is heard is a tone of so many Hz.
fn share_of(units: &[Unit], hertz: f64) -> f64 {
    let packet = |unit: &Unit| match &unit.track {
        Track::Audio(format) => Packet {
            format: format.clone(),
            data: unit.data.clone(),
            theirs: unit.time.as_nanos() as Nanos,
            duration: 20_000_000,
        },
        Track::Video(_) => panic!("pictures make no sound"),
    };
    let packets: Vec<_> = units.iter().map(packet).collect();
    let (_, sound) = decode(first_of(packets[0].format.codec)[0], &packets);
    share(&sound[sound.len() / 4..], hertz)
}

async fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_met() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_either_codec_hear_a_publisher_of_either() {
    for sent in [AudioCodec::Opus, AudioCodec::Aac] {
        let (_media, path) = open();
        let speaker = Speaker::start(path.begin_publishing(Codec::H264).unwrap(), sent, 1000.0);
        let mut same = path.listen(Codec::H264, Some(sent)).unwrap();
        listen(&mut same, 5).await;
        assert_eq!(path.egress_stats().audio_transcoded, None, "nobody wants another codec");
        let mut other = path.listen(Codec::H264, Some(sent.other())).unwrap();
        for (feed, codec) in [(&mut same, sent), (&mut other, sent.other())] {
            let units = listen(feed, 40).await;
            let formats = units.iter().map(|unit| unit.track.clone());
            let is_wanted = |track| matches!(track, Track::Audio(format) if format.codec == codec);
            assert!(formats.into_iter().all(is_wanted));
            assert!(
                share_of(&units, 1000.0) > 0.9,
                "{sent:?} as {codec:?}: {}",
                share_of(&units, 1000.0)
            );
            let age = path.state.egress.opened_at.elapsed().abs_diff(units[39].time);
            assert!(age < Duration::from_millis(500), "{age:?}");
        }
        assert_eq!(path.ingress_stats().audio_codec, Some(sent.name()));
        assert_eq!(path.egress_stats().audio_transcoded, Some(sent.other().name()));
        drop(other);
        wait_until("the transcoder ends", || path.egress_stats().audio_transcoded.is_none()).await;
        listen(&mut same, 5).await;
        drop(speaker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hears_on_when_a_publisher_of_another_codec_takes_over() {
    let (_media, path) = open();
    let first =
        Speaker::start(path.begin_publishing(Codec::H264).unwrap(), AudioCodec::Opus, 500.0);
    let mut feed = path.listen(Codec::H264, Some(AudioCodec::Aac)).unwrap();
    let before = listen(&mut feed, 30).await;
    let second =
        Speaker::start(path.begin_publishing(Codec::Vp8).unwrap(), AudioCodec::Aac, 2000.0);
    drop(first);
    listen(&mut feed, 30).await;
    let after = listen(&mut feed, 30).await;
    assert!(share_of(&before, 500.0) > 0.9 && share_of(&after, 2000.0) > 0.9);
    assert!(before[29].time < after[0].time);
    assert_eq!(path.egress_stats().audio_transcoded, None, "it is passed on as it comes");
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_waits_as_long_as_pictures_take() {
    let (_media, path) = open();
    let publisher = path.begin_publishing(Codec::H264).unwrap();
    let _speaker = Speaker::start(publisher, AudioCodec::Opus, 1000.0);
    let mut feed = path.listen(Codec::H264, Some(AudioCodec::Opus)).unwrap();
    listen(&mut feed, 5).await;
    let near = |ms: u64| {
        let delay = path.egress_stats().audio_delay.unwrap_or_default();
        delay.abs_diff(Duration::from_millis(ms)) < Duration::from_millis(60)
    };
    for latency in [400, 100] {
        wait_until("the delay follows", || {
            show(&path, Duration::from_millis(latency));
            near(latency)
        })
        .await;
        let units = listen(&mut feed, 20).await;
        let late = Instant::now().saturating_duration_since(units[19].shown_at);
        assert!(late < Duration::from_millis(300), "{late:?}");
    }
}

#[tokio::test]
async fn what_is_no_packet_is_dropped_and_counted() {
    let (_media, path) = open();
    let mut publisher = path.begin_publishing(Codec::H264).unwrap();
    let config = Arc::from([]);
    let opus = Arc::new(AudioFormat { codec: AudioCodec::Opus, rate: 48_000, channels: 2, config });
    let now = Instant::now();
    for data in [vec![], vec![0xff, 0], vec![0; MAX_PACKET + 1]] {
        publisher.audio(&opus, Arc::from(data), Duration::MAX, now);
    }
    let stats = path.ingress_stats();
    assert_eq!((stats.audio_packets, stats.audio_dropped), (0, 3));
    publisher.audio(&opus, Arc::from([0]), Duration::MAX, now);
    publisher.audio(&opus, Arc::from([0]), Duration::ZERO, now);
    assert_eq!(path.ingress_stats().audio_packets, 2, "a clock may say anything");
}
