//! A way from one client to an RTSP server, on which what the client sends is held back, or lost.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use test_peer::PATIENCE;

/// Where a client is to connect to that sends in its connection. `held` says how long the packets of a channel are held back.
/// Ends with the client.
pub fn holding_back(
    server: SocketAddr,
    held: impl Fn(u8) -> Duration + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let there = TcpStream::connect(server).unwrap();
        let (mut answers, mut asking) = (there.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut answers, &mut asking));
        let (sender, receiver) = channel();
        std::thread::spawn(move || let_go(&receiver, there));
        let mut client = BufReader::new(client);
        while let Ok(Some((bytes, channel))) = next(&mut client) {
            let held = channel.map_or(Duration::ZERO, &held);
            if sender.send((Instant::now() + held, bytes)).is_err() {
                return;
            }
        }
    });
    address
}

/// The next request, or packet with its channel.
fn next(client: &mut BufReader<TcpStream>) -> std::io::Result<Option<(Vec<u8>, Option<u8>)>> {
    if client.fill_buf()?.first() == Some(&b'$') {
        let mut bytes = vec![0; 4];
        client.read_exact(&mut bytes)?;
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        bytes.resize(4 + length, 0);
        client.read_exact(&mut bytes[4..])?;
        let channel = bytes[1];
        return Ok(Some((bytes, Some(channel))));
    }
    // A line of a request or of its body.
    let mut line = Vec::new();
    client.read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then_some((line, None)))
}

/// Passes on what is due.
fn let_go(receiver: &Receiver<(Instant, Vec<u8>)>, mut there: TcpStream) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    loop {
        let now = Instant::now();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, bytes)) = waiting.pop_front() else { return };
            if there.write_all(&bytes).is_err() {
                return;
            }
        }
        let next = waiting.front().map_or(Duration::from_secs(1), |(due, _)| *due - now);
        match receiver.recv_timeout(next) {
            Ok(one) => {
                let place = waiting.partition_point(|(due, _)| *due <= one.0);
                waiting.insert(place, one);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Where a client is to connect to that sends by UDP. `is_lost` says so of each packet. Ends with the client.
pub fn losing(
    server: SocketAddr,
    is_lost: impl Fn() -> bool + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let there = TcpStream::connect(server).unwrap();
        let (mut asking, mut asked) = (client.try_clone().unwrap(), there.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut asking, &mut asked);
            let _ = asked.shutdown(Shutdown::Both);
        });
        for line in BufReader::new(there).lines() {
            let Ok(mut line) = line else { return };
            if let Some((before, ports)) = line.split_once("server_port=") {
                let (media, after) = ports.split_once('-').unwrap();
                let media = SocketAddr::new(server.ip(), media.parse().unwrap());
                let own = pass_on(media, is_lost.clone());
                line = format!("{before}server_port={own}-{after}");
            }
            if client.write_all(format!("{line}\r\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    address
}

/// Passes packets on that come to the port that it gives, until none come.
fn pass_on(to: SocketAddr, is_lost: impl Fn() -> bool + Send + 'static) -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let mut packet = vec![0; 1 << 16];
        while let Ok(length) = socket.recv(&mut packet) {
            if !is_lost() {
                let _ = socket.send_to(&packet[..length], to);
            }
        }
    });
    port
}
