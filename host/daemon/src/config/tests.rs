//! Layers and checks.

use super::*;
use expect_test::{Expect, expect};
use host_media::PublicAddress;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Config::from_layers(file.parse().expect("TOML"), &environment)
}

fn check_problems(file: &str, environment: &[(&str, &str)], expected: Expect) {
    let error = load(file, environment).err().expect("the settings are wrong");
    expected.assert_eq(&format!("{error}\n"));
}

#[test]
fn the_defaults_can_be_used() {
    let config = load("", &[("HOME", "/home/ada")]).expect("defaults").config;
    assert_eq!(config.http.port, 8080);
    assert_eq!(config.http.media_ports, [8888, 8889, 8890]);
    assert!(config.http.address.is_loopback());
    assert_eq!(config.media.rtc_port, 8189);
    assert_eq!(config.paths.cache, Path::new("/home/ada/.cache/streamdiffusion-host"));
    assert_eq!(config.paths.state, Path::new("/home/ada/.local/state/streamdiffusion-host"));
    assert!(config.persist);
    assert_eq!((config.tokens.admin, config.tokens.may_be_open), (None, true));
    assert_eq!((config.public.url("http", 8080), config.api.cors_origin), (None, None));
    assert_eq!(config.api.bodies, host_api::BodyLimits::default());
}

#[test]
fn variables_win_over_the_file_and_the_file_over_defaults() {
    let file = "[http]\nport = 1\nlisten = '::1'\n[media]\nmax_readers = 3";
    let environment = [
        ("SDH_HTTP__PORT", "0"),
        ("SDH_HTTP__MEDIA_PORTS", "[]"),
        ("SDH_HTTP__TOKEN", "12345"),
        ("SDH_MEDIA__PUBLIC_ADDRESSES", "203.0.113.9, 2001:db8::1"),
        ("SDH_PLUGINS__FOLDERS", "[\"/a b\", '/c']"),
        ("SDH_PATHS__CACHE", "/tmp/cache"),
        ("XDG_CACHE_HOME", "/ignored"),
        ("XDG_STATE_HOME", "/state"),
        ("SDH_STREAMS__PERSIST", "false"),
    ];
    let config = load(file, &environment).expect("settings").config;
    assert_eq!((config.http.port, config.http.address), (0, "::1".parse().expect("an address")));
    assert!(config.http.media_ports.is_empty());
    assert_eq!(config.tokens.admin.as_deref(), Some("12345"));
    assert_eq!(config.media.max_readers, 3);
    assert_eq!(config.media.public_addresses.len(), 2);
    assert_eq!(config.plugins.folders, [Path::new("/a b"), Path::new("/c")]);
    assert_eq!(config.paths.cache, Path::new("/tmp/cache"));
    assert_eq!(config.paths.state, Path::new("/state/streamdiffusion-host"));
    assert!(!config.persist);
}

#[test]
fn every_unknown_key_and_wrong_kind_is_reported_at_once() {
    check_problems(
        "port = 1\n[http]\nprot = 80\nport = 'x'\n[rtc]\nport = 1",
        &[("SDH_HTTP__PORT", "many"), ("SDH_LOG__LEVEL", "info"), ("SDH_PORT", "1")],
        expect![[r#"
            the settings cannot be used:
              `http.port`: must be a whole number, not text
              `http.prot`: is no setting; `[http]` has allow_without_token, body_timeout_seconds, cors_origin, head_timeout_seconds, list_shape, listen, max_connections, max_json_kib, max_sdp_kib, media_ports, open_whip_by_id, port, public_url, tls_certificate, tls_key, token
              `port`: keys belong into a section such as `[http]`
              `rtc.port`: there is no section `[rtc]`
              `http.port`: must be a whole number, not `many`
              `log.level`: is no setting; `[log]` has filter, format
              SDH_PORT: is no setting; the form is SDH_SECTION__KEY
        "#]],
    );
}

#[test]
fn every_value_that_cannot_be_used_is_reported_at_once() {
    check_problems(
        "[http]\nport = 70000\nlist_shape = 'tuple'\npublic_url = 'video.example'\ncors_origin = 'https://a.example/x'\ntoken = 'a b'\ntls_key = 'k'\n\
         [media]\nlisten = ['all']\nmax_readers = 0\n[streams]\nfallback = 'noise'\n[log]\nfilter = 'a=b=c'\n[plugins]\npins = ['sd15']",
        &[],
        expect![[r#"
            the settings cannot be used:
              `http.cors_origin`: must be * or an origin such as https://app.example.com
              `http.list_shape`: must be one of envelope, array, not `tuple`
              `http.public_url`: must be a URL without query, such as https://video.example.com or http://10.0.0.5:8080/sd
              `http.token`: must be of letters, digits and signs, without blanks
              `http.port`: must be from 0 to 65535, not 70000
              `http.tls_certificate`: must be set as well: TLS takes a certificate and its key
              `media.listen`: must be an IP address such as 127.0.0.1, not `all`
              `media.max_readers`: must be from 1 to 1000000, not 0
              `plugins.pins`: `sd15` must be `pipeline=plugin`
              `streams.fallback`: must be one of input, last_frame, black, not `noise`
              `log.filter`: must be such as `info` or `warn,host_media=debug`: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
        "#]],
    );
}

#[test]
fn only_this_machine_or_a_word_of_consent_does_without_tokens() {
    let may_be_open = |file| load(file, &[]).expect("settings").config.tokens.may_be_open;
    assert!(may_be_open(""));
    assert!(may_be_open("[http]\nlisten = '::1'"));
    assert!(!may_be_open("[http]\nlisten = '0.0.0.0'"));
    assert!(may_be_open("[http]\nlisten = '0.0.0.0'\nallow_without_token = true"));
}

#[test]
fn a_public_address_may_have_a_port_and_a_pod_tells_its_own() {
    let addresses = |file: &str, environment: &[(&str, &str)]| {
        load(file, environment).expect("settings").config.media.public_addresses
    };
    let pod = [("RUNPOD_PUBLIC_IP", "203.0.113.9"), ("RUNPOD_TCP_PORT_8189", "40189")];
    let ip = "203.0.113.9".parse().expect("an address");
    let told = PublicAddress { ip, port: Some(40189), is_tcp_only: true };
    assert_eq!(addresses("", &pod), [told]);
    assert_eq!(addresses("[media]\nport = 9000", &pod), []);
    let own = addresses("[media]\npublic_addresses = ['203.0.113.9:4000', '2001:db8::1']", &pod);
    assert_eq!(own[0], PublicAddress { is_tcp_only: false, port: Some(4000), ..told });
    assert_eq!((own.len(), own[1].port), (2, None));
}

#[test]
fn ice_servers_and_the_account_at_twilio_are_checked_and_not_printed() {
    let file = "[ice]\nservers = ['stun:a.example', 'turn:b.example u s3cret']\ntwilio_account_sid = 'AC1'";
    let loaded = load(file, &[("TWILIO_AUTH_TOKEN", "s3cret")]).expect("settings");
    assert_eq!(loaded.config.ice.servers.len(), 2);
    assert_eq!(loaded.config.ice.twilio.expect("an account").auth_token, "s3cret");
    assert!(!loaded.written.contains("s3cret"), "{}", loaded.written);
    check_problems(
        "[ice]\nservers = ['turn:b.example u', 'http://c']\ntwilio_auth_token = 's3cret'\n[media]\npublic_addresses = ['here']",
        &[],
        expect![[r#"
            the settings cannot be used:
              `media.public_addresses`: must be an IP address such as 203.0.113.7, or with a port 203.0.113.7:40189, not `here`
              `ice.servers`: `turn:b.example` is a TURN server: its user name and credential must follow the URL
              `ice.servers`: `http://c` must be such as stun:stun.example.org:3478 or turn:turn.example.org:3478
              `ice.twilio_account_sid`: must be set as well: Twilio asks for both
        "#]],
    );
}

#[test]
fn the_token_is_not_printed() {
    let written = load("[http]\ntoken = 's3cret'", &[]).expect("settings").written;
    assert!(!written.contains("s3cret") && written.contains("token = \"***\""));
}

#[test]
fn the_secrets_of_mediamtx_are_not_printed() {
    let file = "[mediamtx]\nmode = 'attach'\nuser = 'u'\npassword = 's3cret'\nhook_secret = 'abcdefabcdefabcdef'";
    let written = load(file, &[]).expect("settings").written;
    assert!(!written.contains("s3cret") && !written.contains("abcdef"), "{written}");
    assert!(load("", &[]).expect("settings").config.mediamtx.is_none());
}

#[test]
fn what_a_mediamtx_cannot_be_run_or_reached_with_is_reported_at_once() {
    check_problems(
        "[mediamtx]\nmode = 'attach'\napi_url = '10.0.0.5'\nhost_url = 'host'\npassword = 'p'\nhook_secret = 'short'\nlisten = 'all'",
        &[],
        expect![[r#"
            the settings cannot be used:
              `mediamtx.api_url`: must be a URL without query, such as http://10.0.0.5:9997
              `mediamtx.hook_secret`: must be 16 or more letters and digits
              `mediamtx.user`: must be set as well: a password is of a user
              `mediamtx.host_url`: must be a URL without query, such as http://10.0.0.5:8891
              `mediamtx.listen`: must be an IP address such as 127.0.0.1, not `all`
        "#]],
    );
    check_problems(
        "[mediamtx]\nmode = 'spawn'\nbinary = ''\nrtsp_port = 8080\nhls_port = 8890\nsrt_port = 8189\napi_port = 70000\nwebrtc_port = 0\nrtmp_port = 0",
        &[],
        expect![[r#"
            the settings cannot be used:
              `mediamtx.rtsp_port`: must be another than `http.port`, which is 8080 too
              `mediamtx.hls_port`: must be another than `http.media_ports`, which is 8890 too
              `mediamtx.srt_port`: must be another than `media.port`, which is 8189 too
              `mediamtx.api_port`: must be from 0 to 65535, not 70000
              `mediamtx.binary`: must not be empty
        "#]],
    );
    check_problems(
        "[mediamtx]\nmode = 'on'",
        &[],
        expect![[r#"
            the settings cannot be used:
              `mediamtx.mode`: must be one of off, spawn, attach, not `on`
        "#]],
    );
}

#[test]
fn the_surroundings_tell_the_public_url_where_the_settings_do_not() {
    let pod = ("RUNPOD_POD_ID", "m7dbsf4fu06e7f");
    let url = |file, environment: &[_]| {
        load(file, environment).expect("settings").config.public.url("http", 8080)
    };
    let found = url("", &[pod, ("EXTERNAL_HOST", "a.example")]);
    assert_eq!(found.as_deref(), Some("https://m7dbsf4fu06e7f-8080.proxy.runpod.net"));
    let found = url("", &[("EXTERNAL_HOST", "a.example")]);
    assert_eq!(found.as_deref(), Some("http://a.example:8080"));
    let found = url("[http]\npublic_url = 'https://b.example'", &[pod]);
    assert_eq!(found.as_deref(), Some("https://b.example"));
}
