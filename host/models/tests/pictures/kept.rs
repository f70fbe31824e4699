//! What is in the text itself, and what was fetched before.

use crate::bench::{Bench, encode, picture, png};
use host_models::pictures::{DecodeError, PictureError, SourceError};
use host_ports::PictureStore;
use image::ImageFormat;
use std::sync::Arc;

fn data(bytes: &[u8], kind: &str) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("data:image/{kind};base64,");
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        let sign = |place: usize| char::from(SIGNS[(bits >> (18 - 6 * place)) as usize & 63]);
        (0..4).for_each(|place| text.push(if place <= three.len() { sign(place) } else { '=' }));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_in_the_text_goes_the_same_way() {
    let bench = Bench::new(|asked| panic!("{} was asked", asked.host));
    let jpeg = encode(&picture(30, 10, [200, 100, 50]), ImageFormat::Jpeg);
    // What it is called does not matter.
    let taken = bench.take(&data(&jpeg, "png")).await.expect("it is a picture");
    assert_eq!(taken.dimensions(), (30, 10));
    for (bytes, wanted) in [
        (b"no picture".to_vec(), DecodeError::Unknown),
        (png()[..20].to_vec(), DecodeError::Damaged),
    ] {
        let text = data(&bytes, "png");
        assert_eq!(bench.pictures.judge(&text), Err(SourceError::Data(wanted)));
    }
    // The head is whole, and the rest is looked at beside the stream.
    let cut = data(&png()[..60], "png");
    assert_eq!(bench.pictures.judge(&cut), Ok(()));
    let refusal = bench.refusal(&cut).await;
    assert!(matches!(refusal, PictureError::Decode(DecodeError::Damaged)), "{refusal:?}");
    assert!(bench.net.reached().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_pictures_are_kept_once_and_known_again_by_who_had_them() {
    let bench = Bench::new(|mut asked| asked.answer("", &png()));
    let fetch = async |url: &str, recall| {
        let fetched = bench.pictures.fetch(Arc::from(url), recall).await;
        fetched.expect("it is a picture").path().to_owned()
    };
    let first = fetch("http://a.example/a", false).await;
    assert_eq!(fetch("http://b.example/b", false).await, first);
    assert_eq!(fetch(&data(&png(), "png"), false).await, first);
    assert_eq!(bench.net.reached().len(), 2);
    // Who had it needs no network; others see what is there now.
    assert_eq!(fetch("http://a.example/a", true).await, first);
    assert_eq!(bench.net.reached().len(), 2);
    assert_eq!(fetch("http://a.example/a", false).await, first);
    assert_eq!(fetch("http://a.example/new", true).await, first);
    assert_eq!(bench.net.reached().len(), 4);
    let files = std::fs::read_dir(bench.folder.path()).expect("a folder").count();
    assert_eq!(files, 2, "the picture and the folder of sources");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drops_a_fetch_ends_its_connection() {
    let (told, gone) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let (begun, begins) = tokio::sync::mpsc::unbounded_channel();
    let mut begins = begins;
    let bench = Bench::new(move |mut asked| {
        begun.send(()).expect("the test waits");
        asked.wait();
        told.lock().expect("no panic").send(()).expect("the test waits");
    });
    let fetch = tokio::spawn(bench.pictures.fetch(Arc::from("http://a.example/a"), false));
    begins.recv().await.expect("the server is asked");
    fetch.abort();
    let ended = tokio::task::spawn_blocking(move || gone.recv_timeout(crate::bench::PATIENCE));
    ended.await.expect("no panic").expect("the connection ends");
}
