//! Publishers and readers over real sockets: what goes in comes out, whatever joins, leaves or changes on the way.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use host_media::{MediaConfig, PublicAddress};
use host_ports::{
    FrameSize, IngressEvent, MediaPath, OfferError, SessionId, VideoCodec, VideoProfile,
    VideoSettings,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use support::{Pixels, Server, offer_to_play, offer_to_publish, publisher};
use test_peer::{Client, Clip, Codec, Link, MediaData, PATIENCE, Picture, decode};

const SIZE: FrameSize = FrameSize::new(160, 120);

/// Plays as soon as there is something to show.
fn play(path: &dyn MediaPath, codecs: &[Codec], link: impl Fn() -> Link) -> Client {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match offer_to_play(path, codecs, link()) {
            Ok(client) => return client,
            Err(OfferError::NotReady) => assert!(Instant::now() < give_up, "nothing was shown"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn moves(pictures: &[Picture]) -> bool {
    pictures.windows(2).any(|pair| pair[0].luma != pair[1].luma)
}

#[test]
fn a_publishers_picture_moves_on_a_readers_screen() {
    let server = Server::start();
    let (path, events) = server.echo(SIZE);
    let publisher = publisher(&*path, Clip::ball(Codec::H264, 320, 240));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(IngressEvent::PublisherConnected));
    let mut reader = play(&*path, &[Codec::Vp8, Codec::H264], Client::udp);
    let pictures = decode(Codec::H264, &reader.frames(20));
    assert!(pictures.len() >= 19 && moves(&pictures), "{} pictures", pictures.len());
    assert_eq!((pictures[0].width, pictures[0].height), (160, 120));

    let (ingress, egress) = (path.ingress_stats(), path.egress_stats());
    assert!(ingress.is_publishing && ingress.codec == Some("H264"), "{ingress:?}");
    assert!(ingress.frames_decoded >= 20 && ingress.packets_received >= 20, "{ingress:?}");
    assert!(ingress.bytes_received > 1000 && ingress.packets_lost == 0, "{ingress:?}");
    assert_eq!((egress.readers, egress.codecs), (1, vec!["H264"]));
    assert!(egress.frames_encoded >= 20 && egress.key_frames >= 1 && egress.bytes_sent > 1000);

    let session = SessionId(publisher.session.clone());
    assert!(path.has_session(&session) && path.hang_up(&session));
    publisher.wait_until_closed();
    assert!(!path.has_session(&session));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(IngressEvent::PublisherGone));
    assert!(!path.ingress_stats().is_publishing);
    // The output goes on without a publisher.
    reader.frames(3);
}

#[test]
fn a_reader_without_h264_gets_vp8_beside_one_with_it() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let _publisher = publisher(&*path, Clip::ball(Codec::Vp8, 201, 151));
    let mut vp8 = play(&*path, &[Codec::Vp8], Client::udp);
    let mut h264 = play(&*path, &[Codec::H264], Client::udp);
    let vp8 = decode(Codec::Vp8, &vp8.frames(15));
    let h264 = decode(Codec::H264, &h264.frames(15));
    assert!(moves(&vp8) && moves(&h264));
    assert_eq!(path.egress_stats().codecs, ["H264", "VP8"]);
}

#[test]
fn a_stream_may_prefer_another_codec_and_change_how_it_is_encoded() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let _publisher = publisher(&*path, Clip::ball(Codec::Vp9, 160, 120));
    let all = [Codec::H264, Codec::Vp8, Codec::Vp9];
    path.set_video(VideoSettings { codec: VideoCodec::Vp9, ..VideoSettings::default() });
    let mut of_vp9 = play(&*path, &all, Client::udp);
    assert!(moves(&decode(Codec::Vp9, &of_vp9.frames(15))));
    assert_eq!(path.ingress_stats().codec, Some("VP9"));

    // Those who are there keep their codec; the profile shows in the first parameter sets.
    let (profile, preset) = (VideoProfile::High, "veryfast");
    path.set_video(VideoSettings { profile, preset, gop_size: 5, ..VideoSettings::default() });
    let mut of_h264 = play(&*path, &all, Client::udp);
    let frames = of_h264.frames(12);
    assert!(moves(&decode(Codec::H264, &frames)));
    let sets = |frame: &MediaData| {
        frame.data.windows(5).find(|bytes| bytes[..4] == [0, 0, 1, 0x67]).map(|bytes| bytes[4])
    };
    let profiles: Vec<_> = frames.iter().filter_map(sets).collect();
    assert!(profiles.len() >= 3 && profiles.iter().all(|idc| *idc == 100), "{profiles:?}");
    of_vp9.frames(3);

    // A change is in the next frames of those who watch.
    path.set_video(VideoSettings::default());
    of_h264.until("the other profile came", |_, frames| {
        frames.iter().filter_map(sets).any(|idc| idc == 66)
    });
}

#[test]
fn h265_is_taken_from_a_publisher_and_sent_where_a_stream_prefers_it() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let _publisher = publisher(&*path, Clip::ball(Codec::H265, 160, 120));
    let both = [Codec::H264, Codec::H265];
    let mut without = play(&*path, &both, Client::udp);
    path.set_video(VideoSettings { codec: VideoCodec::H265, ..VideoSettings::default() });
    let mut with = play(&*path, &both, Client::udp);
    assert!(moves(&decode(Codec::H265, &with.frames(15))));
    assert!(moves(&decode(Codec::H264, &without.frames(15))));
    assert_eq!(path.ingress_stats().codec, Some("H265"));
}

#[test]
fn a_newer_publisher_replaces_the_older_one() {
    let server = Server::start();
    let (path, events) = server.echo(SIZE);
    let first = publisher(&*path, Clip::ball(Codec::H264, 160, 120));
    let _second = publisher(&*path, Clip::ball(Codec::Vp8, 160, 120));
    first.wait_until_closed();
    let connected: Vec<_> = (0..2).map(|_| events.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(connected, [IngressEvent::PublisherConnected; 2]);
    assert!(!path.hang_up(&SessionId(first.session.clone())), "its session is gone");
    play(&*path, &[Codec::H264], Client::udp).frames(3);
    assert_eq!(path.ingress_stats().codec, Some("VP8"));
    assert!(events.try_recv().is_err(), "the stream was never without a publisher");
}

#[test]
fn a_late_reader_is_shown_the_last_frame() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    assert!(matches!(
        offer_to_play(&*path, &[Codec::H264], Client::udp()),
        Err(OfferError::NotReady)
    ));
    path.show(Pixels::plain(SIZE, 200));
    for _ in 0..2 {
        let mut reader = offer_to_play(&*path, &[Codec::H264], Client::udp()).unwrap();
        let pictures = decode(Codec::H264, &reader.frames(2));
        assert!(pictures[0].middle().abs_diff(188) < 12, "{}", pictures[0].middle());
    }
}

#[test]
fn frames_that_a_pipeline_made_are_timed_once_each() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    path.show(Pixels::plain(SIZE, 90));
    let mut reader = offer_to_play(&*path, &[Codec::H264], Client::udp()).unwrap();
    reader.frames(1);
    assert_eq!(
        path.egress_stats().encode_latency.count,
        0,
        "what was shown before is not on its way"
    );
    let mut frame = Pixels::plain(SIZE, 120);
    frame.made_at = Some(std::time::Instant::now());
    path.show(frame);
    reader.until("the frame is timed", |_, _| path.egress_stats().encode_latency.count > 0);
    // The last frame is repeated meanwhile.
    reader.frames(3);
    let stats = path.egress_stats();
    assert_eq!((stats.encode_latency.count, stats.end_to_end_latency.count), (1, 1));
    assert!(stats.encode_latency.p50 <= stats.end_to_end_latency.p50);
}

#[test]
fn readers_stay_when_the_frames_change_size() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    path.show(Pixels::plain(FrameSize::new(128, 64), 50));
    let mut reader = offer_to_play(&*path, &[Codec::H264], Client::udp()).unwrap();
    let mut frames = reader.frames(1);
    path.show(Pixels::plain(FrameSize::new(65, 97), 220));
    // Frames of the old size may still be on their way, and then come repeats of the new one.
    let shows_new =
        |frames: &[_]| decode(Codec::H264, frames).last().is_some_and(|last| last.height == 96);
    reader.until("the new size arrives", |_, received| {
        let has_received = !received.is_empty();
        frames.extend(received);
        has_received && shows_new(&frames)
    });
    let pictures = decode(Codec::H264, &frames);
    let (first, last) = (&pictures[0], &pictures[pictures.len() - 1]);
    assert_eq!((first.width, first.height, last.width, last.height), (128, 64, 64, 96));
    assert!(first.middle() < 80 && last.middle() > 180);
}

#[test]
fn a_key_frame_comes_when_a_reader_asks() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    path.show(Pixels::plain(SIZE, 90));
    let mut reader = offer_to_play(&*path, &[Codec::H264], Client::udp()).unwrap();
    assert!(reader.frames(1)[0].is_keyframe());
    reader
        .until("a frame that is none", |_, frames| frames.iter().any(|frame| !frame.is_keyframe()));
    reader.ask_for_key_frame();
    reader.until("the key frame", |_, frames| frames.iter().any(|frame| frame.is_keyframe()));
}

#[test]
fn a_reader_without_udp_comes_by_tcp() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let _publisher = publisher(&*path, Clip::ball(Codec::H264, 160, 120));
    let mut reader = play(&*path, &[Codec::H264], Client::tcp);
    let pictures = decode(Codec::H264, &reader.frames(10));
    assert!(moves(&pictures));
    assert!(path.hang_up(&SessionId(reader.session.clone())));
    reader.until("the connection is closed", |client, _| client.is_closed);
}

#[test]
fn sessions_are_limited_and_end_when_they_do_not_connect() {
    let connect_timeout = Duration::from_millis(300);
    let server = Server::start_with(MediaConfig {
        max_readers: 1,
        connect_timeout,
        ..MediaConfig::default()
    });
    let (path, _events) = server.echo(SIZE);
    path.show(Pixels::plain(SIZE, 90));
    let idle = offer_to_play(&*path, &[Codec::Vp8], Client::udp()).unwrap();
    let full = offer_to_play(&*path, &[Codec::Vp8], Client::udp()).err();
    assert_eq!(full, Some(OfferError::TooManyReaders { limit: 1 }));
    // It never sends anything; another one gets its place.
    let give_up = Instant::now() + PATIENCE;
    let mut next = loop {
        match offer_to_play(&*path, &[Codec::Vp8], Client::udp()) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < give_up, "{error}"),
        }
    };
    assert!(!path.hang_up(&SessionId(idle.session.clone())));
    let unknown = SessionId("unknown".to_owned());
    assert!(!path.has_session(&unknown) && !path.hang_up(&unknown));
    next.frames(1);
    path.close();
    next.until("the session ended with its path", |client, _| client.is_closed);
    assert!(matches!(
        offer_to_publish(&*path, Codec::Vp8, Client::udp()),
        Err(OfferError::Unavailable { .. })
    ));
}

#[test]
fn public_addresses_are_announced_before_the_interfaces_own() {
    let ip: IpAddr = "203.0.113.7".parse().unwrap();
    let forwarded = PublicAddress { ip, port: Some(40_000), is_tcp_only: true };
    let public_addresses = vec![ip.into(), forwarded];
    let server = Server::start_with(MediaConfig { public_addresses, ..MediaConfig::default() });
    let (path, _events) = server.echo(SIZE);
    let client = offer_to_publish(&*path, Codec::H264, Client::udp()).unwrap();
    let candidates: Vec<_> =
        client.answer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    let port = server.media.port();
    assert!(candidates[0].contains(&format!(" 203.0.113.7 {port} typ host")), "{candidates:?}");
    let of_forwarded: Vec<_> =
        candidates.iter().filter(|line| line.contains(" 203.0.113.7 40000 ")).collect();
    assert!(of_forwarded.len() == 1 && of_forwarded[0].contains(" tcp "), "{candidates:?}");
    assert!(
        candidates.iter().any(|line| line.contains(&format!(" 127.0.0.1 {port} "))),
        "{candidates:?}"
    );
}

#[test]
fn a_tcp_connection_that_belongs_to_no_session_is_closed() {
    let connect_timeout = Duration::from_millis(200);
    let server = Server::start_with(MediaConfig { connect_timeout, ..MediaConfig::default() });
    let strangers: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0, 3, 1, 2, 3], &[0xff, 0xff, 0], &[]];
    for bytes in strangers {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.media.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let ended = stream.read(&mut [0; 16]);
        assert!(
            matches!(&ended, Ok(0))
                || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        );
    }
}

#[test]
fn a_stopped_server_ends_its_sessions_and_frees_its_port() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    path.show(Pixels::plain(SIZE, 90));
    let mut reader = offer_to_play(&*path, &[Codec::H264], Client::udp()).unwrap();
    reader.frames(1);
    server.stop();
    reader.until("the session ended with the server", |client, _| client.is_closed);
    assert!(matches!(
        offer_to_publish(&*path, Codec::H264, Client::udp()),
        Err(OfferError::Unavailable { .. })
    ));
    let (address, free) = ((Ipv4Addr::UNSPECIFIED, server.media.port()), "the port is free");
    UdpSocket::bind(address).expect(free);
    TcpListener::bind(address).expect(free);
}
