//! `docs/config.md`, made of the comments and defaults in `raw.rs` and `raw`. `cargo xtask gen` writes it, a test finds it stale.

use super::raw::RawConfig;
use std::collections::BTreeMap;

const HEAD: &str = "\
# Settings

<!-- Made of host/daemon/src/config/raw.rs by `cargo xtask gen`. -->

The server starts without any. What you set is read in this order, later wins:

1. the defaults below,
2. a TOML file: `streamdiffusion-host --config host.toml`, with a section per group (`[http]`, then `port = 8080`),
3. environment variables: `SDH_`, the section, two underscores, the key, all in capitals: `SDH_HTTP__PORT=8080`.
   Text needs no quotes; a list is written as in TOML (`[\"a\", \"b\"]`) or with commas (`a,b`).

An unknown key or a value that cannot be used stops the start, and the message names every one of them.
`streamdiffusion-host --print-config` prints all settings as they are in force, `streamdiffusion-host doctor` looks whether
this machine can serve with them.
";

const TAIL: &str = "
## Tokens

Calls on `/v1/*` ask for `Authorization: Bearer <token>` as soon as there is a token, and always where others reach the
host, unless `http.allow_without_token` is set. There, the first start makes the token `admin`, which allows everything, and
prints it once. Publishing and watching never ask for one: their URLs are secret.

```sh
streamdiffusion-host token add wall --scope view          # prints the token, this once
streamdiffusion-host token add desk --scope create,control
streamdiffusion-host token list
streamdiffusion-host token revoke wall
```

| scope | allows |
| --- | --- |
| `create` | `POST` and `DELETE` |
| `control` | `PATCH` and `GET` |
| `view` | `GET`; alone, `stream_key` and `whip_url` are empty in what it is shown, and `output_rtmp_url` is null |

Tokens are kept in `tokens.toml` in `paths.state`, which only its owner may read, as SHA-256 of 256 random bits. A running
server looks whether the file changed at every request, so what is added or revoked counts from the next one on.
";

/// When a change of a setting counts: the last line of each key's comment.
const CHANGES: &[&str] = &["Needs a restart.", "Applied when the files change."];

/// A comment, and what it stands above.
struct Commented {
    text: Vec<String>,
    name: String,
    /// Of a field, its type.
    kind: String,
}

/// Structs with their fields, in the order of the source.
fn read(source: &str) -> Vec<(Commented, Vec<Commented>)> {
    let mut structs: Vec<(Commented, Vec<Commented>)> = Vec::new();
    let mut text = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            text.push(comment.trim().to_owned());
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            let name = name.trim_end_matches(" {").to_owned();
            structs.push((
                Commented { text: std::mem::take(&mut text), name, kind: String::new() },
                Vec::new(),
            ));
        } else if let Some((name, kind)) =
            line.strip_prefix("pub ").and_then(|f| f.split_once(": "))
        {
            let (name, kind) = (name.to_owned(), kind.trim_end_matches(',').to_owned());
            let fields = &mut structs.last_mut().expect("a field is in a struct").1;
            fields.push(Commented { text: std::mem::take(&mut text), name, kind });
        } else if !line.starts_with("#[") {
            text.clear();
        }
    }
    structs
}

fn document(source: &str) -> String {
    let defaults = toml::Table::try_from(RawConfig::default()).expect("a table");
    let mut structs: BTreeMap<String, _> = read(source)
        .into_iter()
        .map(|(owner, fields)| (owner.name.clone(), (owner, fields)))
        .collect();
    let (_, sections) = structs.remove("RawConfig").expect("the settings as a whole");
    let mut document = HEAD.to_owned();
    for section in sections {
        let (owner, fields) = structs.remove(&section.kind).expect("a section's struct");
        document += &format!("\n## `[{}]`: {}\n\n", section.name, section.text.join(" "));
        document +=
            "| key | variable | default | meaning | a change |\n| --- | --- | --- | --- | --- |\n";
        for field in &fields {
            document += &row(&section.name, field, &defaults[&section.name][&field.name]);
        }
        if !owner.text.is_empty() {
            document += &format!("\n{}\n", owner.text.join("\n"));
        }
    }
    document + TAIL
}

fn row(section: &str, field: &Commented, default: &toml::Value) -> String {
    let name = &field.name;
    let (change, meaning) =
        field.text.split_last().unwrap_or_else(|| panic!("{name} has no comment"));
    assert!(CHANGES.contains(&change.as_str()), "{section}.{name} ends without one of {CHANGES:?}");
    let variable = format!("SDH_{}__{}", section.to_uppercase(), name.to_uppercase());
    let change = change.trim_end_matches('.').to_lowercase();
    format!(
        "| `{section}.{name}` | `{variable}` | `{default}` | {} | {change} |\n",
        meaning.join(" ")
    )
}

#[test]
fn the_document_is_what_the_source_says() {
    let made = document(concat!(
        include_str!("raw.rs"),
        include_str!("raw/doors.rs"),
        include_str!("raw/mediamtx.rs")
    ));
    let defaults = toml::Table::try_from(RawConfig::default()).expect("a table");
    let keys: usize =
        defaults.values().map(|keys| keys.as_table().map_or(0, toml::Table::len)).sum();
    assert_eq!(made.matches("| `SDH_").count(), keys, "a key that the comments miss");
    expect_test::expect_file!["../../../../docs/config.md"].assert_eq(&made);
}
