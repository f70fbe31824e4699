//! A difficult network between a client and the server: a UDP relay that loses, delays and holds packets, always in the
//! same way for the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one look at a socket may take: what a packet is late at most beyond its delay.
const PACE: Duration = Duration::from_millis(1);

/// What waits at a bottleneck at most.
const QUEUE: Duration = Duration::from_millis(100);

/// What happens to each packet, both ways. May be changed at any time.
#[derive(Default)]
pub struct Weather {
    /// Of 1000 packets.
    pub lost: AtomicU32,
    /// Packets are held for a random time up to this, in milliseconds, and so overtake each other.
    pub jitter_ms: AtomicU64,
    /// What gets through towards the client, in kbit/s, behind a queue of 100 ms; 0: all.
    pub kbps: AtomicU64,
    /// Nothing gets through.
    pub is_out: AtomicBool,
}

/// Runs until dropped.
pub struct Network {
    pub weather: Arc<Weather>,
    client_side: SocketAddr,
    server: Arc<Mutex<Option<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        let [front, back] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let client_side = front.local_addr().unwrap();
        let (weather, stop): (Arc<Weather>, Arc<AtomicBool>) = Default::default();
        let (server, client): (Arc<Mutex<_>>, Arc<Mutex<_>>) = Default::default();
        let way = |from: &UdpSocket, to: &UdpSocket, seed, learns, sends| Way {
            from: from.try_clone().unwrap(),
            to: to.try_clone().unwrap(),
            learns,
            sends,
            weather: weather.clone(),
            stop: stop.clone(),
            random: seed,
            held: BinaryHeap::new(),
            free_at: Instant::now(),
        };
        let out = way(&front, &back, seed | 1, Some(client.clone()), server.clone());
        let home = way(&back, &front, seed.wrapping_mul(31) | 1, None, client);
        let threads = [out, home].map(|way| std::thread::spawn(move || way.run())).into();
        Self { weather, client_side, server, stop, threads }
    }

    /// An answer whose server is reached through this network alone.
    pub fn reroute(&self, answer: &str) -> String {
        let mut lines = Vec::new();
        for line in answer.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let is_udp = line.starts_with("a=candidate:") && words[2].eq_ignore_ascii_case("udp");
            let mut server = self.server.lock().unwrap();
            if is_udp && server.is_none() {
                *server = format!("{}:{}", words[4], words[5]).parse().ok();
                let (ip, port) =
                    (self.client_side.ip().to_string(), self.client_side.port().to_string());
                let through = [&words[..4], &[&ip, &port], &words[6..]].concat();
                lines.push(through.join(" "));
            } else if !line.starts_with("a=candidate:") {
                lines.push(line.to_owned());
            }
        }
        assert!(self.server.lock().unwrap().is_some(), "no candidate in {answer}");
        lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One direction.
struct Way {
    from: UdpSocket,
    to: UdpSocket,
    /// Where who sends here is noted.
    learns: Option<Arc<Mutex<Option<SocketAddr>>>>,
    sends: Arc<Mutex<Option<SocketAddr>>>,
    weather: Arc<Weather>,
    stop: Arc<AtomicBool>,
    random: u64,
    held: BinaryHeap<Reverse<(Instant, Vec<u8>)>>,
    /// When the bottleneck has let through what it was given.
    free_at: Instant,
}

impl Way {
    fn run(mut self) {
        self.from.set_read_timeout(Some(PACE)).unwrap();
        let mut bytes = vec![0; 65536];
        while !self.stop.load(Relaxed) {
            if let Ok((count, source)) = self.from.recv_from(&mut bytes) {
                if let Some(learns) = &self.learns {
                    *learns.lock().unwrap() = Some(source);
                }
                self.take(&bytes[..count]);
            }
            self.deliver();
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let lost = u64::from(self.weather.lost.load(Relaxed));
        if self.weather.is_out.load(Relaxed) || self.next() % 1000 < lost {
            return;
        }
        let Some(through_at) = self.squeeze(packet.len()) else { return };
        let jitter = self.weather.jitter_ms.load(Relaxed) * 1000 + 1;
        let due = through_at + Duration::from_micros(self.next() % jitter);
        self.held.push(Reverse((due, packet.to_vec())));
    }

    /// When a packet is through the bottleneck; none if its queue is full.
    fn squeeze(&mut self, bytes: usize) -> Option<Instant> {
        let (now, kbps) = (Instant::now(), self.weather.kbps.load(Relaxed));
        if kbps == 0 || self.learns.is_some() {
            return Some(now);
        }
        let begins_at = self.free_at.max(now);
        if begins_at > now + QUEUE {
            return None;
        }
        self.free_at = begins_at + Duration::from_micros(8000 * bytes as u64 / kbps);
        Some(self.free_at)
    }

    fn deliver(&mut self) {
        let Some(address) = *self.sends.lock().unwrap() else { return };
        while self.held.peek().is_some_and(|Reverse((due, _))| *due <= Instant::now()) {
            if let Some(Reverse((_, packet))) = self.held.pop() {
                let _ = self.to.send_to(&packet, address);
            }
        }
    }

    /// Xorshift: the same numbers in every run.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
