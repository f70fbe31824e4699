//! Says on stdout where the host can be reached: lines for people, or one line of JSON for programs.

use crate::Addresses;
use serde_json::json;
use std::io::Write;

pub fn announce(addresses: &Addresses, is_json: bool) {
    let text = if is_json { for_programs(addresses) } else { for_people(addresses) };
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop serving.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn for_programs(addresses: &Addresses) -> String {
    let ready = json!({
        "event": "ready",
        "http": addresses.http,
        "aliases": addresses.aliases,
        "media_port": addresses.media_port,
        "pid": std::process::id(),
    });
    format!("{ready}\n")
}

fn for_people(addresses: &Addresses) -> String {
    let mut text = format!("listening on {}\n", addresses.http);
    for alias in &addresses.aliases {
        text += &format!("listening on {alias}\n");
    }
    text += &format!("media on UDP and TCP port {}\n", addresses.media_port);
    text += &format!("open {} in a browser\n", addresses.http);
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
        };
        expect![[r#"
            listening on http://127.0.0.1:8080
            listening on http://127.0.0.1:8889
            media on UDP and TCP port 8189
            open http://127.0.0.1:8080 in a browser
        "#]]
        .assert_eq(&for_people(&addresses));
        let ready = for_programs(&addresses);
        assert_eq!(ready.lines().count(), 1);
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        assert_eq!(
            (&ready["http"], &ready["media_port"]),
            (&json!("http://127.0.0.1:8080"), &json!(8189))
        );
    }
}
