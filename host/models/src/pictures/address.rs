//! Which addresses may be reached. By the registries of special addresses of IANA, with what carries another address
//! inside judged by that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anybody's, in the internet.
    Public,
    /// This machine or its networks: reached only where the settings allow it.
    Private,
    /// Nobody's, everybody's, or only of the next machine, where clouds tell their secrets: never reached.
    Never,
}

pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [10, ..] | [127, ..] | [192, 168, ..] => Reach::Private,
        [172, 16..=31, ..] => Reach::Private,
        // Shared behind a carrier's address translation.
        [100, 64..=127, ..] => Reach::Private,
        // "This network", link-local, protocol assignments, 6to4 relays, benchmarks.
        [0, ..] | [169, 254, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => {
            Reach::Never
        }
        // Documentation.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Never,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => Reach::Never,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // Mapped, and through a translator of the network's (NAT64).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            reach_v4(last_four(address))
        }
        // Unique local.
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Protocol assignments, Teredo among them; documentation; 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
            Reach::Never
        }
        // All that was ever given out.
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never,
    }
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(wanted: Reach, addresses: &[&str]) {
        for text in addresses {
            assert_eq!(reach(text.parse().expect(text)), wanted, "{text}");
        }
    }

    #[test]
    fn this_machine_and_its_networks_are_private() {
        all(
            Reach::Private,
            &[
                "127.0.0.1",
                "127.255.255.254",
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "100.127.255.255",
                "::1",
                "fc00::1",
                "fdff::1",
                "::ffff:127.0.0.1",
                "::ffff:10.1.2.3",
                "64:ff9b::192.168.0.1",
                "64:ff9b::7f00:1",
            ],
        );
    }

    #[test]
    fn what_is_nobody_s_or_tells_secrets_is_never_reached() {
        all(
            Reach::Never,
            &[
                "0.0.0.0",
                "0.1.2.3",
                "169.254.169.254",
                "192.0.0.1",
                "192.0.2.1",
                "192.88.99.1",
                "198.18.0.1",
                "198.51.100.1",
                "203.0.113.1",
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::2",
                "::127.0.0.1",
                "fe80::1",
                "febf::1",
                "fec0::1",
                "ff02::1",
                "2001:db8::1",
                "2001::1",
                "2001:1ff::1",
                "2002:7f00:1::",
                "2002:808:808::1",
                "3fff::1",
                "5f00::1",
                "100::1",
                "64:ff9b:1::808:808",
                "64:ff9b::169.254.169.254",
                "::ffff:169.254.169.254",
                "::ffff:0.0.0.0",
            ],
        );
    }

    #[test]
    fn the_rest_is_public() {
        all(
            Reach::Public,
            &[
                "1.1.1.1",
                "8.8.8.8",
                "100.63.255.255",
                "100.128.0.1",
                "172.15.0.1",
                "172.32.0.1",
                "192.0.1.1",
                "198.17.0.1",
                "198.20.0.1",
                "223.255.255.255",
                "2606:4700::1",
                "2001:200::1",
                "2a00::1",
                "64:ff9b::8.8.8.8",
                "::ffff:8.8.8.8",
            ],
        );
    }
}
