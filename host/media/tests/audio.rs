//! Audio over real sockets: what a publisher says is heard by readers, when the pictures of its moment are seen.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use host_ports::{FrameSize, MediaPath, OfferError};
use std::time::Instant;
use support::{Server, offer_to_play, offer_to_play_both, publisher_of_both};
use test_peer::{Client, Clip, Codec, MediaData, PATIENCE, Sound, hear, lags, share};

const SIZE: FrameSize = FrameSize::new(64, 64);

/// A reader of both, as soon as there is something to show.
fn play(path: &dyn MediaPath) -> Client {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match offer_to_play_both(path, Codec::H264) {
            Ok(client) => return client,
            Err(OfferError::NotReady) => assert!(Instant::now() < give_up, "nothing was shown"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Listens until this many packets came.
fn listen(reader: &mut Client, packets: usize) -> Vec<MediaData> {
    reader.heard.clear();
    reader.until("enough audio came", |reader, _| reader.heard.len() >= packets);
    std::mem::take(&mut reader.heard)
}

/// How much of what is heard is a tone of so many Hz.
fn share_of(packets: &[MediaData], hertz: f64) -> f64 {
    let sound = hear(packets);
    share(&sound[sound.len() / 4..], hertz)
}

#[test]
fn a_publishers_tone_is_heard_by_a_reader_in_the_stream_of_the_pictures() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let clip = Clip::ball(Codec::H264, 64, 64);
    let publisher = publisher_of_both(&*path, clip, Some(Sound::tone(1000)));
    assert!(publisher.answer.contains("opus/48000/2"), "{}", publisher.answer);
    assert!(publisher.answer.contains("stereo=1"), "{}", publisher.answer);
    let mut reader = play(&*path);
    let streams: Vec<_> = reader
        .answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=msid:")?.split(' ').next())
        .collect();
    assert_eq!(streams.len(), 2, "{}", reader.answer);
    assert_eq!(streams[0], streams[1], "{}", reader.answer);

    let packets = listen(&mut reader, 50);
    assert!(share_of(&packets, 1000.0) > 0.9, "{}", share_of(&packets, 1000.0));
    let times: Vec<_> = packets.iter().map(|packet| packet.time.numer()).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    // Video alone is as good for others.
    offer_to_play(&*path, &[Codec::H264], Client::udp()).unwrap().frames(3);

    let (ingress, egress) = (path.ingress_stats(), path.egress_stats());
    assert_eq!((ingress.audio_codec, egress.audio_transcoded), (Some("Opus"), None));
    assert!(ingress.audio_packets >= 50 && egress.audio_delay.is_some(), "{ingress:?} {egress:?}");
}

#[test]
fn a_publisher_that_offers_audio_and_sends_none_is_seen_all_the_same() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let clip = Clip::ball(Codec::Vp8, 64, 64);
    let _publisher = publisher_of_both(&*path, clip, None);
    let mut reader = play(&*path);
    reader.frames(20);
    assert!(reader.heard.is_empty());
    assert_eq!(path.ingress_stats().audio_codec, None);
}

#[test]
fn a_newer_publishers_tone_replaces_the_older_ones_and_time_goes_on() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let clip = Clip::ball(Codec::H264, 64, 64);
    let first = publisher_of_both(&*path, clip.clone(), Some(Sound::tone(500)));
    let mut reader = play(&*path);
    let before = listen(&mut reader, 25);
    assert!(share_of(&before, 500.0) > 0.9);
    let second = publisher_of_both(&*path, clip.clone(), Some(Sound::tone(2000)));
    first.wait_until_closed();
    listen(&mut reader, 25);
    let after = listen(&mut reader, 25);
    assert!(share_of(&after, 2000.0) > 0.9, "{}", share_of(&after, 2000.0));
    assert!(before[24].time.numer() < after[0].time.numer());
    let _third = publisher_of_both(&*path, clip, None);
    second.wait_until_closed();
    reader.until("the third is taken", |_, _| path.ingress_stats().audio_codec.is_none());
    reader.frames(20);
    assert_eq!(path.ingress_stats().audio_codec, None, "the one that is there sends none");
}

#[test]
fn a_flash_and_its_beep_are_seen_and_heard_at_once() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let clip = Clip::flash(Codec::H264, 64);
    let _publisher = publisher_of_both(&*path, clip, Some(Sound::beep(1000)));
    let mut reader = play(&*path);
    // Long enough for both tracks to be reported on by both sides.
    let (mut frames, end) = (Vec::new(), Instant::now() + std::time::Duration::from_secs(8));
    reader.until("some flashes came", |_, received| {
        frames.extend(received);
        Instant::now() > end
    });
    let heard = std::mem::take(&mut reader.heard);
    let lags = lags(&reader, Codec::H264, &frames, &heard);
    println!("audio later by {:?} ms, {} flashes without", lags.each, lags.silent);
    assert!(lags.each.len() >= 5 && lags.silent <= 1, "{} {}", lags.each.len(), lags.silent);
    assert!(lags.within(0.8) < 45.0, "{:?}", lags.each);
}
