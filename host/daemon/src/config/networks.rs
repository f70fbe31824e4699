//! How clients come to this machine: the addresses they are told, and the STUN and TURN servers.

use super::check::Problems;
use super::raw::{RawIce, RawMedia};
use crate::ice_servers::{Account, IceConfig, parse};
use host_media::PublicAddress;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The setting's, else where RunPod forwards the media port from: TCP alone, and to a port of its choice.
pub fn public_addresses(
    raw: &RawMedia,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Vec<PublicAddress> {
    if raw.public_addresses.is_empty() {
        return of_pod(raw.port, environment).into_iter().collect();
    }
    let mut address = |text: &String| {
        let whole = text.parse::<SocketAddr>().map(|address| PublicAddress {
            ip: address.ip(),
            port: Some(address.port()),
            is_tcp_only: false,
        });
        whole.or_else(|_| text.parse::<IpAddr>().map(PublicAddress::from)).unwrap_or_else(|_| {
            let problem = format!(
                "must be an IP address such as 203.0.113.7, or with a port 203.0.113.7:40189, not `{text}`"
            );
            problems.add("media.public_addresses", problem);
            PublicAddress::from(IpAddr::from([0, 0, 0, 0]))
        })
    };
    raw.public_addresses.iter().map(&mut address).collect()
}

fn of_pod(media_port: i64, environment: &BTreeMap<String, String>) -> Option<PublicAddress> {
    let ip = environment.get("RUNPOD_PUBLIC_IP")?.parse().ok()?;
    let port = environment.get(&format!("RUNPOD_TCP_PORT_{media_port}"))?.parse().ok()?;
    Some(PublicAddress { ip, port: Some(port), is_tcp_only: true })
}

pub fn ice(
    raw: &RawIce,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> IceConfig {
    let mut servers = Vec::new();
    for text in &raw.servers {
        match parse(text) {
            Ok(server) => servers.push(server),
            // Only the URL: what follows it is secret.
            Err(problem) => {
                let url = text.split_ascii_whitespace().next().unwrap_or_default();
                problems.add("ice.servers", format!("`{url}` {problem}"));
            }
        }
    }
    let either = |set: &str, variable: &str| match set {
        "" => environment.get(variable).cloned().unwrap_or_default(),
        set => set.to_owned(),
    };
    let sid = either(&raw.twilio_account_sid, "TWILIO_ACCOUNT_SID");
    let auth_token = either(&raw.twilio_auth_token, "TWILIO_AUTH_TOKEN");
    if sid.is_empty() != auth_token.is_empty() {
        let missing =
            if sid.is_empty() { "ice.twilio_account_sid" } else { "ice.twilio_auth_token" };
        problems.add(missing, "must be set as well: Twilio asks for both");
    }
    if !sid.chars().all(|c| c.is_ascii_alphanumeric()) {
        problems.add("ice.twilio_account_sid", "must be of letters and digits");
    }
    let has_account = !sid.is_empty() && !auth_token.is_empty();
    IceConfig { servers, twilio: has_account.then_some(Account { sid, auth_token }) }
}
