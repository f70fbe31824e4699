//! Where a fetch may lead.

use crate::bench::{Bench, PUBLIC, png};
use host_models::pictures::{FetchError, PictureError, SourceError};

/// A server that should not be asked.
fn silent() -> Bench {
    Bench::new(|asked| panic!("{} was asked for {}", asked.host, asked.target))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let bench = silent();
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "2001::1",
    ] {
        bench.net.name("inside.example", &[&[address]]);
        let error = bench.fetch_error("https://inside.example/a.png").await;
        assert!(matches!(error, FetchError::NotPublic), "{address}: {error:?}");
        assert!(!error.to_string().contains(address), "{error}");
    }
    assert_eq!(bench.net.reached(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_private_address_among_public_ones_is_one_too_many() {
    let bench = silent();
    for addresses in [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"]] {
        bench.net.name("mixed.example", &[&addresses]);
        let error = bench.fetch_error("http://mixed.example/a.png").await;
        assert!(matches!(error, FetchError::NotPublic), "{addresses:?}: {error:?}");
    }
    assert_eq!(bench.net.reached(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_the_second_time_is_asked_once_and_reached_where_it_led() {
    let bench = Bench::new(|mut asked| asked.answer("", &png()));
    bench.net.name("rebind.example", &[&[PUBLIC], &["127.0.0.1"]]);
    bench.take("http://rebind.example/a.png").await.expect("it was public");
    assert_eq!(bench.net.asked.lock().expect("no panic").len(), 1);
    assert_eq!(bench.net.reached(), [format!("{PUBLIC}:80")]);
    // The next time it is judged by where it leads then.
    let error = bench.fetch_error("http://rebind.example/b.png").await;
    assert!(matches!(error, FetchError::NotPublic), "{error:?}");
    assert_eq!(bench.net.reached().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_the_same_name_is_judged_by_where_it_leads_by_then() {
    let bench = Bench::new(|mut asked| asked.redirect(302, "/again"));
    bench.net.name("rebind.example", &[&[PUBLIC], &["10.0.0.1"]]);
    let error = bench.fetch_error("http://rebind.example/").await;
    assert!(matches!(error, FetchError::NotPublic), "{error:?}");
    assert_eq!(bench.net.reached(), [format!("{PUBLIC}:80")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_judged_as_what_a_client_writes() {
    for (to, wanted) in [
        (
            "http://127.0.0.1/",
            "it redirects to somewhere else, which must name a public host; 127.0.0.1 is not one",
        ),
        (
            "http://2130706433/",
            "it redirects to somewhere else, which must name a public host; 127.0.0.1 is not one",
        ),
        (
            "//[::ffff:10.0.0.1]/x",
            "it redirects to somewhere else, which must name a public host; ::ffff:10.0.0.1 is not one",
        ),
        (
            "http://169.254.169.254/latest",
            "it redirects to somewhere else, which must name a public host; 169.254.169.254 is not one",
        ),
        ("http://inside.example/", "the name of its host does not lead to public addresses alone"),
        ("http://nowhere.example/", "the name of its host is not known"),
        (
            "http://a.example:22/",
            "it redirects to somewhere else, which must not name port 22; the operator says in `pictures.ports` which may be used",
        ),
        (
            "http://u:p@a.example/",
            "it redirects to somewhere else, which must name neither a user nor a password",
        ),
        (
            "file:///etc/passwd",
            "it redirects to somewhere else, which must start with https:// or http://, or be data:image/png;base64,DATA",
        ),
        (
            "gopher://a.example/",
            "it redirects to somewhere else, which must start with https:// or http://, or be data:image/png;base64,DATA",
        ),
        (
            "data:image/png;base64,AAAA",
            "it redirects to somewhere else, which must start with https:// or http://, or be data:image/png;base64,DATA",
        ),
        ("http://", "it redirects to nowhere"),
        ("http://exa mple/", "it redirects to nowhere"),
    ] {
        let bench = Bench::new(move |mut asked| asked.redirect(302, to));
        bench.net.name("inside.example", &[&["192.168.0.1"]]);
        assert_eq!(bench.refusal("http://a.example/").await.to_string(), wanted, "{to}");
        assert_eq!(bench.net.reached(), [format!("{PUBLIC}:80")], "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_five_times() {
    for (last, is_taken) in [(5, true), (6, false)] {
        let bench = Bench::new(move |mut asked| {
            let step: u32 = asked.target.trim_start_matches('/').parse().expect("a step");
            match step == last {
                true => asked.answer("", &png()),
                false => asked.redirect(
                    [301, 302, 303, 307, 308][step as usize % 5],
                    &(step + 1).to_string(),
                ),
            }
        });
        let taken = bench.take("http://a.example/0").await;
        assert_eq!(taken.is_ok(), is_taken, "{taken:?}");
        assert_eq!(bench.net.reached().len(), 6);
    }
    // In a circle.
    let bench = Bench::new(|mut asked| {
        let other = if asked.host == "a.example" { "b" } else { "a" };
        asked.redirect(307, &format!("http://{other}.example/"));
    });
    let error = bench.fetch_error("http://a.example/").await;
    assert!(matches!(error, FetchError::TooManyRedirects { limit: 5 }), "{error:?}");
    assert_eq!(bench.net.reached().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_text_reaches_nobody() {
    let bench = silent();
    for url in [
        "http://127.0.0.1/",
        "ftp://a.example/",
        "http://a.example:8080/",
        "http://u@a.example/",
        "x",
    ] {
        let told = bench.pictures.judge(url).expect_err(url);
        let refused = bench.refusal(url).await;
        assert!(matches!(&refused, PictureError::Source(error) if *error == told), "{refused:?}");
    }
    assert_eq!(bench.pictures.judge("x"), Err(SourceError::NotAUrl));
    assert!(bench.net.asked.lock().expect("no panic").is_empty());
    assert_eq!(bench.net.reached(), [""; 0]);
}
