//! Codecs, and the addresses that peers are told.

use super::Finding;
use host_media::{Codec, Codecs, MediaConfig, announced_addresses};
use std::error::Error;

const CODECS: &str = "codecs";
const ADDRESSES: &str = "ice";

pub fn check(config: &MediaConfig) -> Vec<Finding> {
    let mut findings = codecs();
    findings.push(addresses(config));
    findings
}

fn codecs() -> Vec<Finding> {
    let codecs = match Codecs::find() {
        Ok(codecs) => codecs,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            let fix = "install GStreamer's plugins; `./dev setup` installs all of them";
            return vec![Finding::fail(CODECS, format!("{error}{cause}"), fix)];
        }
    };
    let found = |doing, elements: Vec<(Codec, &'static str)>| {
        [Codec::H264, Codec::Vp8].map(|codec| judge(doing, codec, &elements))
    };
    let decoders = found("decoded", codecs.decoders().collect());
    let encoders = found("encoded", codecs.encoders().collect());
    let transcoders = codecs.transcoders().into_iter().map(|transcoder| match transcoder {
        Ok(how) => Finding::ok(CODECS, how),
        Err(missing) => Finding::warn(
            CODECS,
            missing.to_string(),
            "readers of another audio codec than the publisher's hear nothing; `./dev setup` installs GStreamer's plugins",
        ),
    });
    decoders.into_iter().chain(encoders).chain(transcoders).collect()
}

fn judge(doing: &str, codec: Codec, elements: &[(Codec, &str)]) -> Finding {
    match elements.iter().find(|(found, _)| *found == codec) {
        Some((_, element)) => {
            Finding::ok(CODECS, format!("{} is {doing} by {element}", codec.name()))
        }
        None => Finding::warn(
            CODECS,
            format!("{} cannot be {doing}", codec.name()),
            "clients without another codec cannot connect; `./dev setup` installs GStreamer's plugins",
        ),
    }
}

fn addresses(config: &MediaConfig) -> Finding {
    let addresses = announced_addresses(config);
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let listed = listed.join(", ");
    if addresses.is_empty() {
        return Finding::fail(
            ADDRESSES,
            "peers are told no address to send media to",
            "let `media.listen` name an address of this machine, or 0.0.0.0",
        );
    }
    if addresses.iter().all(|address| address.is_loopback()) {
        return Finding::warn(
            ADDRESSES,
            format!("media reaches this machine alone ({listed})"),
            "let `media.listen` be 0.0.0.0, or name in `media.public_addresses` how others reach this machine",
        );
    }
    Finding::ok(ADDRESSES, format!("peers are told {listed}"))
}
