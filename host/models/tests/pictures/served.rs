//! Pictures that are served as they should be.

use crate::bench::{Bench, PUBLIC, Peer, Server, encode, picture, png};
use host_models::pictures::{FetchError, Rules};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, RgbaImage};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

const URL: &str = "http://a.example/a.png?b=%20c#d";

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_each_format_becomes_a_png() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let bytes = encode(&picture(40, 20, [200, 100, 50]), format);
        let bench = Bench::new(move |mut asked| {
            assert_eq!(
                (asked.host.as_str(), asked.target.as_str()),
                ("a.example", "/a.png?b=%20c")
            );
            asked.answer("", &bytes);
        });
        let taken = bench.take(URL).await.expect("it is a picture");
        assert_eq!(taken.dimensions(), (40, 20));
        let Rgb(colour) = *taken.get_pixel(20, 10);
        assert!(colour.iter().zip([200, 100, 50]).all(|(a, b)| a.abs_diff(b) < 4), "{colour:?}");
        assert_eq!(bench.net.reached(), [format!("{PUBLIC}:80")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_come_in_chunks_or_end_with_the_connection() {
    let bench = Bench::new(|mut asked| {
        asked.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in png().chunks(7) {
            asked.write([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        asked.write("0\r\n\r\n");
    });
    bench.take(URL).await.expect("it is a picture");
    let bench = Bench::new(|mut asked| {
        asked.write("HTTP/1.1 200 OK\r\n\r\n");
        asked.write(png());
    });
    bench.take(URL).await.expect("it is a picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_small_upright_and_plain() {
    let bench = Bench::new(|mut asked| {
        let bytes = match asked.target.as_str() {
            "/large" => encode(&picture(3000, 1500, [1, 2, 3]), ImageFormat::Png),
            "/deep" => encode(
                &DynamicImage::from(picture(9, 9, [255, 0, 0]).into_rgba16()),
                ImageFormat::Png,
            ),
            "/clear" => {
                let pixels = RgbaImage::from_pixel(9, 9, image::Rgba([10, 20, 30, 0]));
                encode(&DynamicImage::from(pixels), ImageFormat::Png)
            }
            _ => turned(),
        };
        asked.answer("", &bytes);
    });
    let take = async |name: &str| {
        bench.take(&format!("http://a.example/{name}")).await.expect("it is a picture")
    };
    assert_eq!(take("large").await.dimensions(), (1024, 512));
    assert_eq!(take("deep").await.get_pixel(0, 0), &Rgb([255, 0, 0]));
    assert_eq!(take("clear").await.get_pixel(0, 0), &Rgb([10, 20, 30]));
    // Written lying on its side: the left half, which is light, belongs to the top.
    let upright = take("turned").await;
    assert_eq!(upright.dimensions(), (32, 64));
    assert!(upright.get_pixel(16, 4)[0] > 200 && upright.get_pixel(16, 60)[0] < 50);
}

/// A JPEG whose Exif says that it is to be turned by a quarter (6).
fn turned() -> Vec<u8> {
    let light = |x, _| if x < 32 { Rgb([250; 3]) } else { Rgb([5; 3]) };
    let jpeg = encode(&DynamicImage::from(RgbImage::from_fn(64, 32, light)), ImageFormat::Jpeg);
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let exif = [b"Exif\0\0", &tiff[..]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

/// A server with a certificate for `a.example`, and the file of who vouches for it.
fn over_tls(answer: fn(crate::bench::Asked<'_>)) -> (Server, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
            });
    let config = Arc::new(config.expect("a key for its certificate"));
    let wrap = move |connection: TcpStream| -> Option<Box<dyn Peer>> {
        Some(Box::new(StreamOwned::new(ServerConnection::new(config.clone()).ok()?, connection)))
    };
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), made.cert.pem()).expect("written");
    (Server::start(wrap, answer), file)
}

fn secure(answer: fn(crate::bench::Asked<'_>), is_trusted: bool) -> Bench {
    let (server, file) = over_tls(answer);
    let authorities: Option<PathBuf> = is_trusted.then(|| file.path().to_owned());
    Bench::with(server, Rules { allow_http: true, ..Rules::default() }, authorities)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_name_must_be_vouched_for() {
    let bench = secure(|mut asked| asked.answer("", &png()), true);
    bench.take("https://a.example/a.png").await.expect("it is vouched for");
    assert_eq!(bench.net.reached(), [format!("{PUBLIC}:443")]);
    let error = bench.fetch_error("https://b.example/a.png").await;
    assert!(matches!(error, FetchError::Tls(_)), "{error:?}");
    let bench = secure(|mut asked| asked.answer("", &png()), false);
    let error = bench.fetch_error("https://a.example/a.png").await;
    assert!(matches!(error, FetchError::Tls(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_leave_tls() {
    let bench = secure(|mut asked| asked.redirect(301, "http://a.example/b.png"), true);
    let error = bench.fetch_error("https://a.example/a.png").await;
    assert!(matches!(error, FetchError::Downgrade), "{error:?}");
    assert_eq!(bench.net.reached().len(), 1);
}
