//! Answers that mean no good, or are none.

use crate::bench::{Asked, Bench, LIMIT, encode, picture, png};
use host_models::pictures::{DecodeError, FetchError, PictureError};
use image::ImageFormat;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const URL: &str = "http://a.example/a.png";

async fn fetch_error(answer: impl Fn(Asked<'_>) + Send + Sync + 'static) -> FetchError {
    Bench::new(answer).fetch_error(URL).await
}

async fn is_too_slow(answer: impl Fn(Asked<'_>) + Send + Sync + 'static) {
    let error = Bench::hasty(answer).fetch_error(URL).await;
    assert!(matches!(error, FetchError::TooSlow(_)), "{error:?}");
}

async fn decode_error(body: Vec<u8>) -> DecodeError {
    let bench = Bench::new(move |mut asked| asked.answer("Content-Type: image/png\r\n", &body));
    match bench.refusal(URL).await {
        PictureError::Decode(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_left_at_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    for head in ["\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        sent.store(0, Ordering::SeqCst);
        let counted = sent.clone();
        let error = fetch_error(move |mut asked| {
            asked.write(format!("HTTP/1.1 200 OK\r\n{head}"));
            let chunk = format!("1000\r\n{}\r\n", "\0".repeat(0x1000));
            while asked.write(&chunk) {
                counted.fetch_add(chunk.len(), Ordering::SeqCst);
            }
        });
        let error = error.await;
        assert!(matches!(error, FetchError::TooLarge { limit: LIMIT }), "{error:?}");
        // What lies in the buffers of two sockets is not ours.
        assert!(sent.load(Ordering::SeqCst) < LIMIT + (16 << 20), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beyond_the_limit_is_not_waited_for() {
    let error = fetch_error(|mut asked| {
        asked.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LIMIT + 1));
        asked.wait();
    });
    assert!(matches!(error.await, FetchError::TooLarge { limit: LIMIT }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_lies_is_found_out() {
    let error = fetch_error(|mut asked| {
        asked.write("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n\u{fffd}PNG");
    });
    assert!(matches!(error.await, FetchError::Broken(_)));
    // Too short a length cuts the picture off.
    let bench = Bench::new(|mut asked| {
        asked.write("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n");
        asked.write(png());
    });
    let refusal = bench.refusal(URL).await;
    assert!(matches!(refusal, PictureError::Decode(DecodeError::Damaged)), "{refusal:?}");
    for length in ["-1", "1e3", "18446744073709551616", "5, 6", "0x10"] {
        let error = fetch_error(move |mut asked| {
            asked.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc"));
        });
        let error = error.await;
        assert!(
            matches!(error, FetchError::NotHttp(_) | FetchError::Broken(_)),
            "{length}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_slow_ends_with_the_time() {
    let stalls: [fn(Asked<'_>); 4] = [
        |mut asked| asked.wait(),
        |mut asked| {
            asked.write("HTTP/1.1 200 OK\r\nContent-");
            asked.wait();
        },
        |mut asked| {
            asked.write("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc");
            asked.wait();
        },
        |mut asked| {
            asked.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
            asked.wait();
        },
    ];
    for stall in stalls {
        is_too_slow(stall).await;
    }
    for start in ["HTTP/1.1 200 OK\r\nA: ", "HTTP/1.1 200 OK\r\n\r\n"] {
        is_too_slow(move |mut asked| {
            let mut part = start;
            while asked.write(part) {
                part = "x";
                // Its pace.
                std::thread::park_timeout(Duration::from_millis(5));
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_runs_on_over_redirects() {
    is_too_slow(|mut asked| {
        std::thread::park_timeout(Duration::from_millis(150));
        asked.redirect(302, "/on");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_a_limit() {
    for line in [
        format!("A: {}\r\n", "a".repeat(40_000)),
        "A: b\r\n".repeat(100),
        "A: b\r\n".repeat(1_000_000),
    ] {
        let error = fetch_error(move |mut asked| {
            asked.write("HTTP/1.1 200 OK\r\n");
            asked.write(&line);
            asked.write("\r\n");
        });
        let error = error.await;
        assert!(matches!(error, FetchError::HeadTooLarge { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_told_as_such_and_not_repeated() {
    for banner in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 mail.example ESMTP\r\n",
        "-ERR wrong number\r\n",
        "\0\0\0\u{1}",
    ] {
        let error = fetch_error(move |mut asked| {
            asked.write(banner);
        })
        .await;
        assert!(
            matches!(error, FetchError::NotHttp(_) | FetchError::Broken(_)),
            "{banner}: {error:?}"
        );
        assert!(!error.to_string().contains(banner.trim()), "{error}");
    }
    let error = fetch_error(|_| {}).await;
    assert!(matches!(error, FetchError::Broken(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_statuses_than_200_are_told() {
    for status in [201, 204, 206, 300, 304, 401, 403, 404, 407, 429, 500, 503] {
        let error = fetch_error(move |mut asked| {
            asked.write(format!("HTTP/1.1 {status} secret\r\nContent-Length: 0\r\n\r\n"));
        });
        let error = error.await;
        assert!(matches!(error, FetchError::Status(told) if told == status), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = fetch_error(|mut asked| {
        asked.write("HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n");
    });
    assert!(matches!(error.await, FetchError::NoTarget));
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_not_unpacked() {
    for encoding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "x"] {
        let error = fetch_error(move |mut asked| {
            assert_eq!(asked.headers["accept-encoding"], "identity");
            asked.answer(&format!("Content-Encoding: {encoding}\r\n"), &[0x1f, 0x8b, 8, 0]);
        });
        let error = error.await;
        assert!(matches!(error, FetchError::Encoded), "{encoding}: {error:?}");
    }
    let error = fetch_error(|mut asked| {
        asked.answer("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", b"");
    });
    assert!(matches!(error.await, FetchError::Encoded));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_is_is_told_by_itself() {
    let html = b"<html><img src=x></html>".to_vec();
    let gif = b"GIF89a\x01\0\x01\0\0\0\0;".to_vec();
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec();
    let bmp = b"BM\x1e\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x01\0\x01\0\x01\0\x18\0\0\0\0\0".to_vec();
    for body in [html, gif, svg, bmp, Vec::new(), b"\x89PNG".to_vec(), b"RIFF\0\0\0\0WAVE".to_vec()]
    {
        assert_eq!(decode_error(body).await, DecodeError::Unknown);
    }
    let bench = Bench::new(|mut asked| asked.answer("Content-Type: text/html\r\n", &png()));
    bench.take(URL).await.expect("it is a picture whatever it is called");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_moves_or_is_too_large_is_told_apart() {
    let png = png();
    for cut in [20, 40, png.len() - 20] {
        assert_eq!(decode_error(png[..cut].to_vec()).await, DecodeError::Damaged, "{cut}");
    }
    let jpeg = encode(&picture(64, 64, [9, 8, 7]), ImageFormat::Jpeg);
    assert_eq!(decode_error(jpeg[..20].to_vec()).await, DecodeError::Damaged);
    let webp = encode(&picture(64, 64, [9, 8, 7]), ImageFormat::WebP);
    assert_eq!(decode_error(webp[..webp.len() / 2].to_vec()).await, DecodeError::Damaged);

    let wanted = DecodeError::TooManyPixels { width: 60000, height: 60000 };
    assert_eq!(decode_error(with_size(&png, 60000, 60000)).await, wanted);
    let wanted = DecodeError::TooManyPixels { width: 4097, height: 1 };
    assert_eq!(decode_error(with_size(&png, 4097, 1)).await, wanted);
    let huge = large_jpeg();
    let wanted = DecodeError::TooManyPixels { width: 60000, height: 60000 };
    assert_eq!(decode_error(huge).await, wanted);

    let mut moving = png[..33].to_vec();
    moving.extend(chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]));
    moving.extend(&png[33..]);
    assert_eq!(decode_error(moving).await, DecodeError::Animated);
}

/// A PNG whose head tells another size, with the checksum for it.
fn with_size(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut head = [width.to_be_bytes(), height.to_be_bytes()].concat();
    head.extend(&png[24..29]);
    let mut changed = png[..8].to_vec();
    changed.extend(chunk(b"IHDR", &head));
    changed.extend(&png[33..]);
    changed
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &body, &checksum(&body).to_be_bytes()].concat()
}

/// CRC-32, as PNG has it.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |rest: u32, _| if rest & 1 == 1 { 0xedb8_8320 ^ (rest >> 1) } else { rest >> 1 };
    let add = |rest: u32, byte: &u8| (0..8).fold(rest ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, add)
}

/// A JPEG whose frame tells another size.
fn large_jpeg() -> Vec<u8> {
    let mut jpeg = encode(&picture(64, 64, [9, 8, 7]), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).expect("a frame");
    let size = 60000u16.to_be_bytes();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[size, size].concat());
    jpeg
}
