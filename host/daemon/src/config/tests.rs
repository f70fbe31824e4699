//! Layers, checks, and that the document names every key.

use super::raw::RawConfig;
use super::*;
use expect_test::{Expect, expect};

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
    assert_eq!(config.http.media_ports, [8889, 8890]);
    assert!(config.http.address.is_loopback());
    assert_eq!(config.media.rtc_port, 8189);
    assert_eq!(config.paths.cache, Path::new("/home/ada/.cache/streamdiffusion-host"));
    assert_eq!(config.paths.state, Path::new("/home/ada/.local/state/streamdiffusion-host"));
    assert!(config.persist);
    assert_eq!(
        (config.api.token, config.api.public_url, config.api.cors_origin),
        (None, None, None)
    );
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
    assert_eq!(config.api.token.as_deref(), Some("12345"));
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
              `http.prot`: is no setting; `[http]` has allow_without_token, cors_origin, list_shape, listen, media_ports, open_whip_by_id, port, public_url, token
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
        "[http]\nport = 70000\nlist_shape = 'tuple'\npublic_url = 'video.example'\ncors_origin = 'https://a.example/x'\ntoken = 'a b'\n\
         [media]\nlisten = ['all']\nmax_readers = 0\n[streams]\nfallback = 'noise'\n[log]\nfilter = 'a=b=c'\n[plugins]\npins = ['sd15']",
        &[],
        expect![[r#"
            the settings cannot be used:
              `http.public_url`: must be a URL without query, such as https://video.example.com or http://10.0.0.5:8080/sd
              `http.cors_origin`: must be * or an origin such as https://app.example.com
              `http.token`: must be of letters, digits and signs, without blanks
              `http.list_shape`: must be one of envelope, array, not `tuple`
              `http.port`: must be from 0 to 65535, not 70000
              `media.listen`: must be an IP address such as 127.0.0.1, not `all`
              `media.max_readers`: must be from 1 to 1000000, not 0
              `plugins.pins`: `sd15` must be `pipeline=plugin`
              `streams.fallback`: must be one of input, last_frame, black, not `noise`
              `log.filter`: must be such as `info` or `warn,host_media=debug`: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
        "#]],
    );
}

#[test]
fn the_open_network_needs_a_token_or_a_word_of_consent() {
    check_problems(
        "[http]\nlisten = '0.0.0.0'",
        &[],
        expect![[r#"
            the settings cannot be used:
              `http.listen`: others reach 0.0.0.0 and could use this host; set `http.token`, or `http.allow_without_token = true` where something else keeps them out
        "#]],
    );
    assert!(load("[http]\nlisten = '0.0.0.0'\ntoken = 'x'", &[]).is_ok());
    assert!(load("[http]\nlisten = '0.0.0.0'\nallow_without_token = true", &[]).is_ok());
}

#[test]
fn the_token_is_not_printed() {
    let written = load("[http]\ntoken = 's3cret'", &[]).expect("settings").written;
    assert!(!written.contains("s3cret") && written.contains("token = \"***\""));
}

#[test]
fn the_document_names_every_key_with_its_default() {
    let document = include_str!("../../../../docs/config.md");
    let defaults = toml::Table::try_from(RawConfig::default()).expect("a table");
    for (section, keys) in &defaults {
        for (key, value) in keys.as_table().expect("a section") {
            let variable = format!("SDH_{}__{}", section.to_uppercase(), key.to_uppercase());
            let row = format!("| `{section}.{key}` | `{variable}` | `{value}` |");
            assert!(document.contains(&row), "docs/config.md lacks {row}");
        }
    }
    let known: usize =
        defaults.values().map(|keys| keys.as_table().map_or(0, toml::Table::len)).sum();
    assert_eq!(document.matches("| `SDH_").count(), known, "docs/config.md has rows too many");
}
