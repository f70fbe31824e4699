//! Publishers and readers without a browser.

use crate::host::{Host, Stream};
use crate::http::request;
use std::sync::Arc;
use test_peer::{Answered, Client, Clip, Codec, Publisher, Sound};

/// Takes an offer to a WHIP or WHEP URL.
fn exchange(url: String) -> impl FnOnce(&str) -> Result<Answered, String> {
    move |offer| {
        let answer = request("POST", &url, Some("application/sdp"), offer.as_bytes());
        let session = answer.header("location").to_owned();
        if answer.status == 201 {
            Ok(Answered { session, sdp: answer.text })
        } else {
            Err(answer.text)
        }
    }
}

/// Publishes a clip over and over.
pub fn publish(stream: &Stream<'_>, clip: &Arc<Clip>, fps: u32) -> Publisher {
    let client = Client::publish(clip.codec, Client::udp(), exchange(stream.text("whip_url")));
    Publisher::start(client.expect("the offer is taken"), clip.clone(), fps)
}

/// Publishes a clip and a sound over and over.
pub fn publish_both(stream: &Stream<'_>, clip: &Arc<Clip>, sound: &Arc<Sound>) -> Publisher {
    let link = Client::udp();
    let client = Client::publish_both(clip.codec, link, exchange(stream.text("whip_url")));
    let client = client.expect("the offer is taken");
    Publisher::start_both(client, clip.clone(), 30, Some(sound.clone()))
}

/// A reader of the output's video and audio, as soon as there is any.
pub fn watch_both(host: &Host, stream: &Stream<'_>, codec: Codec) -> Client {
    let mut reader = host.wait_for("the output can be watched", || {
        let exchange = exchange(stream.text("output_stream_url"));
        Client::play_both(&[codec], Client::udp(), exchange).ok()
    });
    reader.connect();
    reader
}

/// A reader of the output, as soon as there is any.
pub fn watch(host: &Host, stream: &Stream<'_>, codec: Codec) -> Client {
    let mut reader = answered_reader(host, stream, codec);
    reader.connect();
    reader
}

/// The same, which is yet to connect.
pub fn answered_reader(host: &Host, stream: &Stream<'_>, codec: Codec) -> Client {
    host.wait_for("the output can be watched", || {
        Client::play(&[codec], Client::udp(), exchange(stream.text("output_stream_url"))).ok()
    })
}
