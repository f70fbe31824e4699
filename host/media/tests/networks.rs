//! Loss, jitter and outages, on a publisher's way and on a reader's: the picture comes back soon and is not late for ever.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use host_ports::{FrameSize, MediaPath, OfferError};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::Server;
use test_peer::{Answered, Client, Clip, Codec, MediaData, Network, PATIENCE, Publisher};

const SIZE: FrameSize = FrameSize::new(320, 240);
const FPS: u32 = 30;

/// A reader asks for a key frame no more often than this, as browsers do.
const ASK_AGAIN: Duration = Duration::from_millis(200);

fn through(network: &Network, answer: host_ports::Answer) -> Answered {
    Answered { session: answer.session.0, sdp: network.reroute(&answer.sdp) }
}

fn publish(path: &dyn MediaPath, network: &Network) -> Publisher {
    let clip = Clip::noise(Codec::H264, SIZE.width, SIZE.height);
    let offer = |offer: &str| path.publish(offer).map(|answer| through(network, answer));
    let client = Client::publish(Codec::H264, Client::udp(), offer).unwrap();
    Publisher::start(client, clip, FPS)
}

/// A reader that shows what it can decode, and when.
struct Screen {
    client: Client,
    needs_key_frame: bool,
    asked_at: Option<Instant>,
    /// When each frame was shown, and its time by the sender's clock, in seconds.
    shown: Vec<(Instant, f64)>,
}

impl Screen {
    fn open(path: &Arc<dyn MediaPath>, network: &Network) -> Self {
        let give_up = Instant::now() + PATIENCE;
        let mut client = loop {
            let offer = |offer: &str| path.play(offer).map(|answer| through(network, answer));
            match Client::play(&[Codec::H264], Client::udp(), offer) {
                Ok(client) => break client,
                Err(OfferError::NotReady) => assert!(Instant::now() < give_up),
                Err(error) => panic!("{error}"),
            }
        };
        client.connect();
        Self { client, needs_key_frame: true, asked_at: None, shown: Vec::new() }
    }

    fn watch(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.step();
        }
    }

    fn step(&mut self) {
        for frame in self.client.step() {
            self.show(&frame);
        }
        let now = Instant::now();
        if self.needs_key_frame && self.asked_at.is_none_or(|asked| now > asked + ASK_AGAIN) {
            self.asked_at = Some(now);
            self.client.ask_for_key_frame();
        }
    }

    fn show(&mut self, frame: &MediaData) {
        let is_key_frame = frame.data.windows(4).any(|bytes| bytes == [0, 0, 1, 0x67]);
        self.needs_key_frame = !is_key_frame && (self.needs_key_frame || !frame.contiguous);
        if !self.needs_key_frame {
            self.shown.push((Instant::now(), frame.time.as_seconds()));
        }
    }

    /// The longest time that the picture stood still since `from`.
    fn longest_freeze(&self, from: Instant) -> Duration {
        let times: Vec<_> = self.shown.iter().map(|(at, _)| *at).filter(|at| *at >= from).collect();
        let ends = [from].into_iter().chain(times.iter().copied());
        let nexts = times.iter().copied().chain([Instant::now()]);
        ends.zip(nexts).map(|(one, next)| next - one).max().unwrap()
    }

    /// How much later the median frame since `from` was shown than the quickest of all.
    fn median_lateness(&self, from: Instant) -> Option<Duration> {
        let (first_at, first_time) = self.shown[0];
        let lag =
            |(at, time): &(Instant, f64)| (*at - first_at).as_secs_f64() - (time - first_time);
        let quickest = self.shown.iter().map(lag).fold(f64::INFINITY, f64::min);
        let mut late: Vec<_> = self
            .shown
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|frame| lag(frame) - quickest)
            .collect();
        late.sort_by(f64::total_cmp);
        late.get(late.len() / 2).map(|late| Duration::from_secs_f64(*late))
    }
}

/// A publisher and a reader, each with a network of its own, that have run for a while in good weather.
struct Run {
    _server: Server,
    path: Arc<dyn MediaPath>,
    networks: [Network; 2],
    _publisher: Publisher,
    screen: Screen,
    _alone: MutexGuard<'static, ()>,
}

impl Run {
    fn start() -> Self {
        // Each of these encodes and decodes twice in real time: side by side they would measure each other.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let server = Server::start();
        let (path, _events) = server.echo(SIZE);
        let networks = [Network::new(7), Network::new(11)];
        let publisher = publish(&*path, &networks[0]);
        let mut screen = Screen::open(&path, &networks[1]);
        screen.watch(Duration::from_secs(1));
        assert!(screen.shown.len() > 15, "{} frames in good weather", screen.shown.len());
        Self { _server: server, path, networks, _publisher: publisher, screen, _alone: alone }
    }

    fn rain(&self, lost: u32, jitter_ms: u64) {
        for network in &self.networks {
            network.weather.lost.store(lost, Relaxed);
            network.weather.jitter_ms.store(jitter_ms, Relaxed);
        }
    }

    /// Watches some seconds of bad weather; what was shown of them, and the longest freeze.
    fn endure(&mut self, what: &str, seconds: u64) -> (usize, Duration) {
        let (from, before) = (Instant::now(), self.screen.shown.len());
        self.screen.watch(Duration::from_secs(seconds));
        let shown = self.screen.shown.len() - before;
        let freeze = self.screen.longest_freeze(from);
        let late = self.screen.median_lateness(from);
        eprintln!(
            "{what}: {shown} frames in {seconds} s, longest freeze {freeze:?}, median {late:?} late"
        );
        (shown, freeze)
    }

    /// In good weather again the picture moves at its pace and is not late.
    fn recovers(&mut self) {
        self.rain(0, 0);
        self.screen.watch(Duration::from_secs(1));
        let (from, before) = (Instant::now(), self.screen.shown.len());
        self.screen.watch(Duration::from_secs(1));
        let (shown, late) = (self.screen.shown.len() - before, self.screen.median_lateness(from));
        assert!(
            shown >= 20 && late < Some(Duration::from_millis(100)),
            "{shown} frames, {late:?} late"
        );
    }
}

#[test]
fn two_percent_loss_and_jitter_are_hardly_seen() {
    let mut run = Run::start();
    run.rain(20, 50);
    let (shown, freeze) = run.endure("2 % lost, 50 ms jitter", 5);
    assert!(shown >= 100 && freeze < Duration::from_millis(700), "{shown} frames, {freeze:?}");
    run.recovers();
}

#[test]
fn ten_percent_loss_and_jitter_leave_a_moving_picture() {
    let mut run = Run::start();
    run.rain(100, 50);
    let (shown, freeze) = run.endure("10 % lost, 50 ms jitter", 5);
    assert!(shown >= 60 && freeze < Duration::from_secs(1), "{shown} frames, {freeze:?}");
    run.recovers();
}

#[test]
fn the_picture_is_back_within_a_second_after_an_outage() {
    for (index, whose) in ["publisher", "reader"].into_iter().enumerate() {
        let mut run = Run::start();
        let is_out = run.networks[index].weather.clone();
        is_out.is_out.store(true, Relaxed);
        run.endure(&format!("the {whose} is cut off"), 3);
        is_out.is_out.store(false, Relaxed);
        let back_at = Instant::now();
        let frames_before = run.path.ingress_stats().frames_decoded;
        run.screen.watch(Duration::from_secs(1));
        let frames = run.path.ingress_stats().frames_decoded - frames_before;
        let shown = run.screen.shown.iter().filter(|(at, _)| *at > back_at).count();
        assert!(shown >= 5 && frames >= 5, "{whose}: {shown} shown, {frames} decoded in 1 s");
        run.recovers();
    }
}

#[test]
fn a_narrow_way_is_sent_what_it_carries_and_a_wide_one_all_again() {
    let mut run = Run::start();
    let bitrate = |run: &Run| run.path.egress_stats().bitrate_kbps;
    let whole = bitrate(&run);
    run.networks[1].weather.kbps.store(1000, Relaxed);
    let give_up = Instant::now() + PATIENCE;
    while run.endure("the way is narrow", 1).0 < 20 || bitrate(&run) > 1200 {
        assert!(Instant::now() < give_up, "{} kbit/s through 1000", bitrate(&run));
    }
    let (shown, freeze) = run.endure("1000 kbit/s", 5);
    assert!(shown >= 100 && freeze < Duration::from_secs(1), "{shown} frames, {freeze:?}");
    run.networks[1].weather.kbps.store(0, Relaxed);
    let narrow = bitrate(&run);
    // A twelfth more each second at most.
    let give_up = Instant::now() + 3 * PATIENCE;
    while bitrate(&run) < whole * 3 / 4 {
        assert!(Instant::now() < give_up, "{} kbit/s again", bitrate(&run));
        run.endure(&format!("{} kbit/s again", bitrate(&run)), 1);
    }
    eprintln!("{whole} kbit/s, {narrow} through 1000");
}
