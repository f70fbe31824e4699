//! A publisher by RTSP that holds one track back, and says of its clocks what it likes.

use crate::Held;
use crate::rtsp_support::client::Client;
use crate::rtsp_support::track::{AUDIO, SDP, Track, VIDEO};
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use test_peer::{Clip, Codec, Sound};

/// How often it looks at the clock.
const PACE: Duration = Duration::from_millis(1);

/// What a publisher says of its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    None,
    True,
    /// That its sound is of another hour than its pictures.
    HourApart,
}

/// Sends a flash and a beep a second by UDP.
pub struct Publisher {
    stop: Option<Sender<()>>,
    sending: Option<JoinHandle<()>>,
}

impl Publisher {
    pub fn start(server: SocketAddr, held: Held, reports: Reports) -> Self {
        let mut client = Client::connect(server, "echo?key=stk_1");
        assert_eq!(client.ask("ANNOUNCE", "", &[], SDP), 200, "{}", client.body);
        let mut video = Track::by_udp(&mut client, server, VIDEO);
        let mut audio = Track::by_udp(&mut client, server, AUDIO);
        audio.off = if reports == Reports::HourApart { 3600 } else { 0 };
        assert_eq!(client.ask("RECORD", "", &[], ""), 200);
        let (clip, sound) = (Clip::flash(Codec::H264, 64), Sound::beep(1000));
        let (stop, stopped) = channel();
        let sending = std::thread::spawn(move || {
            let (started, mut shown, mut said, mut told) = (Instant::now(), 0_u32, 0_u32, 0_u32);
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let now = started.elapsed();
                let time = Duration::from_secs(1) * shown / 30;
                if now >= time + held.video {
                    let frame = &clip.frames[shown as usize % clip.frames.len()];
                    video.picture(&mut client, time, frame);
                    shown += 1;
                }
                let time = Sound::PACKET * said;
                if now >= time + Sound::PACKET + held.audio {
                    audio.send(&mut client, time, &[sound.packets[said as usize % 50].to_vec()]);
                    said += 1;
                }
                if reports != Reports::None && now >= Duration::from_millis(700) * told {
                    video.report(&mut client, now);
                    audio.report(&mut client, now);
                    told += 1;
                }
            }
        });
        Self { stop: Some(stop), sending: Some(sending) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.sending.take().map(JoinHandle::join);
    }
}
