//! Which paths a MediaMTX should have for the host's streams, and what is to be done where it has others.

use crate::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// What MediaMTX's paths put behind the id of a stream to name its output, as the host's own do.
pub const OUTPUT_SUFFIX: &str = "_out";

/// The settings of a path, as far as ours have any. Everything may be absent or null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathConfig {
    pub name: String,
    pub source: Option<String>,
    pub source_on_demand: bool,
    pub forward: Option<Vec<Forward>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Forward {
    pub dest: String,
    pub whip_bearer_token: String,
}

/// A path that should be there.
#[derive(Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Fetches a stream's output while somebody watches.
    Output { name: String, source: String },
    /// Takes a publisher and hands him on.
    Input { name: String, forward: Forward },
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    Add(Wanted),
    Replace(Wanted),
    Delete(String),
    /// It has such a path that is not ours, which stays.
    Foreign(String),
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(wanted) => write!(out, "add {}", wanted.name()),
            Self::Replace(wanted) => write!(out, "replace {}", wanted.name()),
            Self::Delete(name) => write!(out, "delete {name}"),
            Self::Foreign(name) => write!(out, "foreign {name}"),
        }
    }
}

impl Wanted {
    pub fn name(&self) -> &str {
        match self {
            Self::Output { name, .. } | Self::Input { name, .. } => name,
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Self::Output { source, .. } => json!({ "source": source, "sourceOnDemand": true }),
            Self::Input { forward: Forward { dest, whip_bearer_token }, .. } => json!({
                "forward": [{ "dest": dest, "whipBearerToken": whip_bearer_token }],
            }),
        }
    }

    fn is(&self, there: &PathConfig) -> bool {
        match self {
            Self::Output { source, .. } => {
                there.source.as_ref() == Some(source) && there.source_on_demand
            }
            Self::Input { forward, .. } => {
                there.forward.as_ref().is_some_and(|all| all.as_slice() == [forward.clone()])
            }
        }
    }
}

/// The paths of these streams. `host_url` is `http…`, without a slash at the end. What cannot be watched yet has no output:
/// 1.5.1 never recovers from a refused WHEP, and newer ones would keep viewers waiting.
pub fn wanted(streams: &[Stream], host_url: &str, with_inputs: bool) -> Vec<Wanted> {
    let (whep, whip) = (host_url.replacen("http", "whep", 1), host_url.replacen("http", "whip", 1));
    let output = |stream: &Stream| Wanted::Output {
        name: format!("{}{OUTPUT_SUFFIX}", stream.id),
        source: format!("{whep}/play/{}/whep", stream.playback_id),
    };
    let input = |stream: &Stream| Wanted::Input {
        name: stream.id.clone(),
        // By id, and not by `whip_url`, which is a secret that would stand in MediaMTX's log.
        forward: Forward {
            dest: format!("{whip}/{}/whip", stream.id),
            whip_bearer_token: stream.stream_key.clone(),
        },
    };
    let inputs = streams.iter().filter(|_| with_inputs).map(input);
    streams.iter().filter(|stream| stream.has_output).map(output).chain(inputs).collect()
}

/// What makes of the paths that are there those that are wanted.
pub fn steps(wanted: &[Wanted], there: &[PathConfig], host_url: &str) -> Vec<Step> {
    let known: BTreeMap<_, _> = there.iter().map(|path| (path.name.as_str(), path)).collect();
    let mut steps: Vec<_> = wanted
        .iter()
        .filter_map(|wanted| match known.get(wanted.name()) {
            None => Some(Step::Add(wanted.clone())),
            Some(path) if wanted.is(path) => None,
            Some(path) if is_ours(path, host_url) => Some(Step::Replace(wanted.clone())),
            Some(_) => Some(Step::Foreign(wanted.name().to_owned())),
        })
        .collect();
    let is_wanted = |path: &PathConfig| wanted.iter().any(|wanted| wanted.name() == path.name);
    let left = there.iter().filter(|path| is_ours(path, host_url) && !is_wanted(path));
    steps.extend(left.map(|path| Step::Delete(path.name.clone())));
    steps
}

/// Whether it leads to or from this host, and is named as nothing but ours are.
fn is_ours(path: &PathConfig, host_url: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let below = |url: &str, scheme: &str, folder: &str| {
        let base = host_url.replacen("http", scheme, 1);
        url.strip_prefix(base.as_str()).is_some_and(|rest| rest.starts_with(folder))
    };
    let source = path.source.as_deref().unwrap_or_default();
    let forward = path.forward.as_deref().unwrap_or_default();
    let is_input = || match forward {
        [only] => below(&only.dest, "whip", &format!("/{}/whip", path.name)),
        _ => false,
    };
    path.name.chars().all(is_plain) && (below(source, "whep", "/play/") || is_input())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "http://127.0.0.1:8891";

    fn stream(id: &str) -> Stream {
        let (playback_id, stream_key) = (format!("play_{id}"), format!("key_{id}"));
        Stream { id: id.into(), playback_id, stream_key, has_output: true }
    }

    /// As MediaMTX shows them.
    fn made(wanted: &[Wanted]) -> Vec<PathConfig> {
        let shown = wanted.iter().map(|wanted| {
            let mut config = wanted.to_json();
            config["name"] = wanted.name().into();
            serde_json::from_value(config).unwrap()
        });
        shown.collect()
    }

    fn told(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stream_has_an_output_and_where_it_can_be_handed_on_an_input() {
        let paths = wanted(&[stream("a")], HOST, true);
        let shown: Vec<_> = paths.iter().map(|path| path.to_json().to_string()).collect();
        assert_eq!(
            shown,
            [
                r#"{"source":"whep://127.0.0.1:8891/play/play_a/whep","sourceOnDemand":true}"#,
                r#"{"forward":[{"dest":"whip://127.0.0.1:8891/a/whip","whipBearerToken":"key_a"}]}"#,
            ]
        );
        let names: Vec<_> = paths.iter().map(Wanted::name).collect();
        assert_eq!(names, ["a_out", "a"]);
        assert_eq!(wanted(&[stream("a")], HOST, false).len(), 1);
        let new = Stream { has_output: false, ..stream("a") };
        assert_eq!(wanted(std::slice::from_ref(&new), HOST, true)[0].name(), "a");
        assert!(wanted(&[new], HOST, false).is_empty());
        let far = wanted(&[stream("a")], "https://host.example/sd", false);
        let Wanted::Output { source, .. } = &far[0] else { panic!("an output") };
        assert_eq!(source, "wheps://host.example/sd/play/play_a/whep");
    }

    #[test]
    fn what_is_as_wanted_stays_and_the_rest_is_added_replaced_or_taken_away() {
        let wanted_now = wanted(&[stream("a"), stream("b")], HOST, true);
        assert_eq!(told(&steps(&wanted_now, &[], HOST)).len(), 4);
        let mut there = made(&wanted_now);
        assert!(steps(&wanted_now, &there, HOST).is_empty());
        there.extend(made(&wanted(&[stream("gone")], HOST, true)));
        there[0].source_on_demand = false;
        there[3].forward.as_mut().unwrap()[0].whip_bearer_token = "old".into();
        let steps = steps(&wanted_now, &there, HOST);
        assert_eq!(told(&steps), ["replace a_out", "replace b", "delete gone_out", "delete gone"]);
    }

    #[test]
    fn paths_of_others_are_never_touched() {
        let other = wanted(&[stream("a"), stream("b")], "http://127.0.0.1:88910", true);
        let mut there = made(&other);
        let path = |name: &str, source: &str| PathConfig {
            name: name.into(),
            source: Some(source.into()),
            ..Default::default()
        };
        there.push(path("camera", "rtsp://10.0.0.1/"));
        there.push(path("../x", "whep://127.0.0.1:8891/play/a/whep"));
        there.push(path("all_others", "publisher"));
        there.push(PathConfig { name: "none".into(), ..Default::default() });
        let forward = |dest: &str| Forward { dest: dest.into(), ..Default::default() };
        there.push(PathConfig {
            name: "studio".into(),
            forward: Some(vec![forward("whip://127.0.0.1:8891/a/whip")]),
            ..Default::default()
        });
        let wanted_now = wanted(&[stream("a")], HOST, true);
        assert_eq!(told(&steps(&wanted_now, &there, HOST)), ["foreign a_out", "foreign a"]);
        assert!(steps(&[], &there, HOST).is_empty());
    }
}
