//! By which address others reach this machine: what a STUN server sees (RFC 8489).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;
use stun_types::attribute::XorMappedAddress;
use stun_types::message::{BINDING, Message, MessageWriteVec};
use stun_types::prelude::*;

/// A lost packet is sent again after this long, twice.
const PATIENCE: Duration = Duration::from_millis(700);
const ATTEMPTS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum FindAddressError {
    #[error("`{server}` is not found; name a STUN server as HOST:PORT")]
    NoServer {
        server: String,
        #[source]
        source: io::Error,
    },
    #[error("`{server}` has no IPv4 address")]
    NoAddress { server: String },
    #[error("`{server}` does not answer as a STUN server does; is UDP let through?")]
    NoAnswer { server: String },
    #[error("no socket to ask with")]
    Socket(#[from] io::Error),
}

/// Asks a STUN server which IPv4 address this machine's packets come from. Takes up to two seconds.
pub fn find_public_address(server: &str) -> Result<IpAddr, FindAddressError> {
    let name = || server.to_owned();
    let found = server
        .to_socket_addrs()
        .map_err(|source| FindAddressError::NoServer { server: name(), source })?;
    let address = found
        .into_iter()
        .find(SocketAddr::is_ipv4)
        .ok_or_else(|| FindAddressError::NoAddress { server: name() })?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Connected: packets of others are not let in.
    socket.connect(address)?;
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    for _ in 0..ATTEMPTS {
        // Refused by the other side or by a router on the way: perhaps not the next time.
        let _ = socket.send(&request);
        if let Some(seen) = answer(&socket, &request) {
            return Ok(seen);
        }
    }
    Err(FindAddressError::NoAnswer { server: name() })
}

fn answer(socket: &UdpSocket, request: &[u8]) -> Option<IpAddr> {
    let mut bytes = [0; 1500];
    let length = socket.recv(&mut bytes).ok()?;
    let asked = Message::from_bytes(request).ok()?;
    let answer = Message::from_bytes(&bytes[..length]).ok()?;
    if !answer.is_response() || answer.transaction_id() != asked.transaction_id() {
        return None;
    }
    let mapped = answer.attribute::<XorMappedAddress>().ok()?;
    Some(mapped.addr(answer.transaction_id()).ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one packet.
    fn server(reply: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) -> String {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            let (length, source) = socket.recv_from(&mut bytes).unwrap();
            socket.send_to(&reply(&bytes[..length]), source).unwrap();
            // Stays open until the asker has given up.
            let _ = socket.recv_from(&mut bytes);
        });
        address.to_string()
    }

    #[test]
    fn a_stun_server_tells_the_address() {
        // A success, of 12 bytes, with the request's cookie and id: XOR-MAPPED-ADDRESS, IPv4, port and address masked.
        let mapped = [0, 0x20, 0, 8, 0, 1, 0x12 ^ 0x21, 0x67 ^ 0x12];
        let masked = [203 ^ 0x21, 0x12, 113 ^ 0xa4, 7 ^ 0x42];
        let server = server(move |request| {
            [&[1, 1, 0, 12], &request[4..20], &mapped[..], &masked[..]].concat()
        });
        assert_eq!(find_public_address(&server).unwrap(), IpAddr::from([203, 0, 113, 7]));
    }

    #[test]
    fn garbage_and_unknown_names_are_no_address() {
        let server = server(|_| b"not a STUN message".to_vec());
        let error = find_public_address(&server).unwrap_err().to_string();
        assert!(error.contains("does not answer as a STUN server"), "{error}");
        let error = find_public_address("no-port").unwrap_err().to_string();
        assert!(error.contains("HOST:PORT"), "{error}");
    }
}
