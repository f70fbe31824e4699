//! Ways to the peers: the UDP sockets and the TCP connections that peers opened.

use crate::sockets::{Packets, UdpSockets};
use crate::tcp::Ends;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::net::{Protocol, Transmit};
use tokio::sync::mpsc;

pub(crate) struct Net {
    pub udp: UdpSockets,
    /// Kept for its memory.
    pub packets: Packets,
    connections: HashMap<Ends, Connection>,
    max_connections: usize,
    /// How long a connection may take until it belongs to a session.
    patience: Duration,
}

struct Connection {
    outgoing: mpsc::Sender<Vec<u8>>,
    opened_at: Instant,
    /// It belongs to a session.
    is_adopted: bool,
}

impl Net {
    pub fn new(udp: UdpSockets, max_connections: usize, patience: Duration) -> Self {
        Self {
            udp,
            packets: Packets::default(),
            connections: HashMap::new(),
            max_connections,
            patience,
        }
    }

    pub fn transmit(&mut self, packet: Transmit) {
        if packet.proto == Protocol::Udp {
            return self.udp.send(packet.source, packet.destination, &packet.contents);
        }
        let ends = Ends { local: packet.source, remote: packet.destination };
        let Some(connection) = self.connections.get(&ends) else { return };
        if connection.outgoing.try_send(packet.contents.into()).is_err() {
            tracing::debug!(remote = %ends.remote, "peer is too slow for its tcp connection");
            self.connections.remove(&ends);
        }
    }

    pub fn opened(&mut self, ends: Ends, outgoing: mpsc::Sender<Vec<u8>>, now: Instant) {
        // Not keeping the sender closes the connection.
        if self.connections.len() < self.max_connections {
            self.connections
                .insert(ends, Connection { outgoing, opened_at: now, is_adopted: false });
        }
    }

    pub fn adopted(&mut self, ends: Ends) {
        if let Some(connection) = self.connections.get_mut(&ends) {
            connection.is_adopted = true;
        }
    }

    pub fn refuse_unless_adopted(&mut self, ends: Ends) {
        if self.connections.get(&ends).is_some_and(|connection| !connection.is_adopted) {
            self.connections.remove(&ends);
        }
    }

    pub fn closed(&mut self, ends: Ends) {
        self.connections.remove(&ends);
    }

    /// Closes a peer's connections.
    pub fn disconnect(&mut self, remote: SocketAddr) {
        self.connections.retain(|ends, _| ends.remote != remote);
    }

    pub fn tick(&mut self, now: Instant) {
        let patience = self.patience;
        self.connections
            .retain(|_, connection| connection.is_adopted || now < connection.opened_at + patience);
    }
}
