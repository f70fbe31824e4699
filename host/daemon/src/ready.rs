//! Says on stdout where the host can be reached: lines for people, or one line of JSON for programs.

use crate::Addresses;
use serde_json::json;
use std::io::Write;

/// A token that was just made is told here and nowhere else.
pub fn announce(addresses: &Addresses, new_token: Option<&str>, is_json: bool) {
    let text =
        if is_json { for_programs(addresses, new_token) } else { for_people(addresses, new_token) };
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop serving.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn for_programs(addresses: &Addresses, new_token: Option<&str>) -> String {
    let mut ready = json!({
        "event": "ready",
        "http": addresses.http,
        "aliases": addresses.aliases,
        "media_port": addresses.media_port,
        "rtsp_port": addresses.rtsp_port,
        "rtmp_port": addresses.rtmp_port,
        "pid": std::process::id(),
    });
    if let Some(token) = new_token {
        ready["new_token"] = token.into();
    }
    format!("{ready}\n")
}

fn for_people(addresses: &Addresses, new_token: Option<&str>) -> String {
    let mut text = format!("listening on {}\n", addresses.http);
    for alias in &addresses.aliases {
        text += &format!("listening on {alias}\n");
    }
    text += &format!("media on UDP and TCP port {}\n", addresses.media_port);
    if let Some(port) = addresses.rtsp_port {
        text += &format!("publishers and readers by RTSP on port {port}\n");
    }
    if let Some(port) = addresses.rtmp_port {
        text += &format!("publishers by RTMP on port {port}\n");
    }
    text += &format!("open {} in a browser\n", addresses.http);
    if let Some(token) = new_token {
        text += &format!(
            "\nothers reach this host, so /v1/* asks for a token; this one allows everything and is not shown again:\n\n    \
             {token}\n\n\
             send it as `Authorization: Bearer <token>`; `streamdiffusion-host token add NAME --scope …` makes others\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn people_get_one_address_a_line_and_programs_one_line() {
        let addresses = Addresses {
            http: "http://127.0.0.1:8080".into(),
            aliases: vec!["http://127.0.0.1:8889".into()],
            media_port: 8189,
            rtsp_port: Some(8554),
            rtmp_port: Some(1935),
        };
        expect![[r#"
            listening on http://127.0.0.1:8080
            listening on http://127.0.0.1:8889
            media on UDP and TCP port 8189
            publishers and readers by RTSP on port 8554
            publishers by RTMP on port 1935
            open http://127.0.0.1:8080 in a browser
        "#]]
        .assert_eq(&for_people(&addresses, None));
        let ready = for_programs(&addresses, None);
        assert_eq!(ready.lines().count(), 1);
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        assert_eq!(
            (&ready["http"], &ready["media_port"], &ready["rtsp_port"], &ready["rtmp_port"]),
            (&json!("http://127.0.0.1:8080"), &json!(8189), &json!(8554), &json!(1935))
        );
        assert_eq!(ready.get("new_token"), None);
    }

    #[test]
    fn a_new_token_is_told_with_its_use() {
        let addresses = Addresses {
            http: "http://a".into(),
            aliases: Vec::new(),
            media_port: 8189,
            rtsp_port: None,
            rtmp_port: None,
        };
        let text = for_people(&addresses, Some("sdh_1"));
        assert!(text.contains("sdh_1") && text.contains("Authorization: Bearer"), "{text}");
        let ready: serde_json::Value =
            serde_json::from_str(&for_programs(&addresses, Some("sdh_1"))).expect("JSON");
        assert_eq!(ready["new_token"], "sdh_1");
    }
}
