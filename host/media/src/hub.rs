//! The one task that owns all peer connections and the sockets: packets, encoded frames, commands and time come in,
//! each is given to the peers it is for, and what they have to send goes out.

use crate::negotiate::Role;
use crate::net::Net;
use crate::peer::{Peer, Progress};
use crate::tcp::TcpEvent;
use crate::unit::Unit;
use host_ports::{OfferError, SessionId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::Input;
use str0m::net::{Protocol, Receive};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

/// A peer changes its address now and then; one that comes from more than this is up to something.
const MAX_ADDRESSES: usize = 32;

pub(crate) enum Command {
    Add(Box<Peer>),
    HangUp(SessionId),
    ClosePath(u64),
    Stop(oneshot::Sender<()>),
}

/// How the rest of the server speaks to the hub.
#[derive(Clone)]
pub(crate) struct HubHandle {
    pub commands: mpsc::Sender<Command>,
    pub runtime: Handle,
    pub places: Arc<Semaphore>,
}

impl HubHandle {
    /// A place among all sessions, given back when dropped.
    pub fn ticket(&self) -> Result<OwnedSemaphorePermit, OfferError> {
        self.places.clone().try_acquire_owned().map_err(|_| OfferError::Unavailable {
            reason: "the server has as many media sessions as it takes".to_owned(),
        })
    }

    pub fn try_send(&self, command: Command) -> Result<(), &'static str> {
        self.commands.try_send(command).map_err(|_| "the media server is overloaded")
    }

    /// For what ends sessions, which must not be lost: waits elsewhere if the hub is busy. There is at most one of
    /// these for each session and path.
    pub fn send(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            self.runtime.spawn(async move { drop(commands.send(command).await) });
        }
    }
}

/// What comes in, beside UDP.
pub(crate) struct Inbox {
    pub commands: mpsc::Receiver<Command>,
    pub units: mpsc::Receiver<Unit>,
    pub tcp: mpsc::Receiver<TcpEvent>,
    /// The tasks that take connections; they end with this.
    pub listeners: JoinSet<()>,
}

enum Incoming {
    /// None when nobody is left who could give one.
    Command(Option<Command>),
    Unit(Unit),
    Tcp(TcpEvent),
}

impl Inbox {
    /// Commands before anything else. A session is on its way here before the offer is answered, and whoever has the answer
    /// may connect before the hub has looked: its connection must find the session, or it is closed as a stranger's.
    async fn next(&mut self) -> Incoming {
        let others = async {
            tokio::select! {
                Some(unit) = self.units.recv() => Incoming::Unit(unit),
                Some(event) = self.tcp.recv() => Incoming::Tcp(event),
                else => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = self.commands.recv() => Incoming::Command(command),
            other = others => other,
        }
    }
}

pub(crate) struct Hub {
    net: Net,
    peers: HashMap<u64, Peer>,
    next_key: u64,
    routes: HashMap<(Protocol, SocketAddr), u64>,
    /// No peer wants to be looked at before this.
    wake_at: Instant,
}

impl Hub {
    pub fn new(net: Net) -> Self {
        Self {
            net,
            peers: HashMap::new(),
            next_key: 0,
            routes: HashMap::new(),
            wake_at: Instant::now(),
        }
    }

    /// Runs until it is told to stop or nobody is left who could tell it anything.
    pub async fn run(mut self, mut inbox: Inbox) {
        loop {
            let wake_at = self.wake_at;
            // At random among what is ready: no flood on one way in keeps the others waiting.
            tokio::select! {
                incoming = inbox.next() => match incoming {
                    Incoming::Command(Some(Command::Stop(done))) => {
                        self.end_where("the server stops", |_| true);
                        drop(self);
                        inbox.listeners.shutdown().await;
                        // Whoever hears that it has stopped can start nothing any more.
                        inbox.commands.close();
                        // The port is free now. The caller may have given up waiting.
                        let _ = done.send(());
                        return;
                    }
                    Incoming::Command(Some(command)) => self.command(command),
                    Incoming::Command(None) => {
                        return self.end_where("the server stops", |_| true);
                    }
                    Incoming::Unit(unit) => self.fan_out(&unit),
                    Incoming::Tcp(event) => self.tcp(event),
                },
                socket = self.net.udp.readable() => self.udp(socket),
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
            // Also under a flood of packets: time goes on for everyone.
            let now = Instant::now();
            if now >= self.wake_at {
                self.tick(now);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add(peer) => {
                self.next_key += 1;
                self.peers.insert(self.next_key, *peer);
                self.advance(self.next_key);
            }
            Command::HangUp(session) => self.end_where("hung up", |peer| peer.session == session),
            Command::ClosePath(path) => {
                self.end_where("the stream ended", |peer| peer.path.id == path)
            }
            Command::Stop(_) => {}
        }
    }

    fn fan_out(&mut self, unit: &Unit) {
        let readers = self.keys(|peer| peer.role == Role::Reader && peer.path.id == unit.path);
        for key in readers {
            self.with_peer(key, |peer| {
                peer.send(unit);
                Ok(())
            });
        }
    }

    fn udp(&mut self, socket: usize) {
        let now = Instant::now();
        let mut packets = std::mem::take(&mut self.net.packets);
        self.net.udp.receive(socket, &mut packets);
        for (source, destination, range) in packets.ranges.drain(..) {
            self.packet(now, Protocol::Udp, (source, destination), &packets.bytes[range]);
        }
        self.net.packets = packets;
    }

    fn tcp(&mut self, event: TcpEvent) {
        match event {
            TcpEvent::Opened(ends, outgoing) => self.net.opened(ends, outgoing, Instant::now()),
            TcpEvent::Closed(ends) => self.net.closed(ends),
            TcpEvent::Received(ends, bytes) => {
                let route = (ends.remote, ends.local);
                match self.packet(Instant::now(), Protocol::Tcp, route, &bytes) {
                    true => self.net.adopted(ends),
                    // What a connection sends before anything that belongs to a session is not for us.
                    false => self.net.refuse_unless_adopted(ends),
                }
            }
        }
    }

    /// Gives a packet to the peer it belongs to, if there is one.
    fn packet(
        &mut self,
        now: Instant,
        protocol: Protocol,
        (source, destination): (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) -> bool {
        let Ok(receive) = Receive::new(protocol, source, destination, bytes) else { return false };
        let input = Input::Receive(now, receive);
        let Some(key) = self.route((protocol, source), &input) else { return false };
        self.with_peer(key, |peer| peer.input(input));
        true
    }

    fn route(&mut self, from: (Protocol, SocketAddr), input: &Input<'_>) -> Option<u64> {
        if let Some(key) = self.routes.get(&from)
            && self.peers.get(key).is_some_and(|peer| peer.rtc.accepts(input))
        {
            return Some(*key);
        }
        let (key, peer) = self.peers.iter_mut().find(|(_, peer)| peer.rtc.accepts(input))?;
        if peer.addresses >= MAX_ADDRESSES {
            return None;
        }
        peer.addresses += 1;
        self.routes.insert(from, *key);
        Some(*key)
    }

    /// Looks at everyone whose time has come.
    fn tick(&mut self, now: Instant) {
        for key in self.keys(|peer| peer.wake_at <= now) {
            self.with_peer(key, |peer| peer.input(Input::Timeout(now)));
        }
        self.net.tick(now);
        let heartbeat = now + Duration::from_secs(1);
        self.wake_at =
            self.peers.values().map(|peer| peer.wake_at).min().unwrap_or(heartbeat).min(heartbeat);
    }

    fn advance(&mut self, key: u64) {
        self.with_peer(key, |_| Ok(()));
    }

    /// Changes one peer and does what follows from it. A peer that makes the WebRTC library panic costs only itself.
    fn with_peer(&mut self, key: u64, change: impl FnOnce(&mut Peer) -> Result<(), String>) {
        let (net, Some(peer)) = (&mut self.net, self.peers.get_mut(&key)) else { return };
        let changed = catch_unwind(AssertUnwindSafe(|| match change(peer) {
            Ok(()) => peer.advance(Instant::now(), |packet| net.transmit(packet)),
            Err(reason) => Progress::Ended(reason),
        }));
        self.wake_at = self.wake_at.min(peer.wake_at);
        match changed {
            Ok(Progress::Going) => {}
            Ok(Progress::Connected) => self.connected(key),
            Ok(Progress::Ended(reason)) => self.remove(key, &reason),
            Err(_) => self.remove(key, "the connection failed internally"),
        }
    }

    fn connected(&mut self, key: u64) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let (path, session, role) = (peer.path.clone(), peer.session.clone(), peer.role);
        tracing::info!(path = %path.name, ?role, codec = peer.codec.name(), "session connected");
        let connected =
            (role == Role::Publisher).then(|| path.publisher_connected(&session, peer.codec));
        let begun = peer.begin(connected.as_ref().map(|connected| connected.source));
        if let Some(replaced) = connected.and_then(|connected| connected.replaced_peer) {
            self.end_where("replaced by a newer publisher", |other| other.session == replaced);
        }
        if let Err(error) = begun {
            self.remove(key, &format!("no thread for its decoder: {error}"));
        }
    }

    /// Says goodbye to peers and removes them.
    fn end_where(&mut self, reason: &str, is_meant: impl Fn(&Peer) -> bool) {
        for key in self.keys(is_meant) {
            self.with_peer(key, |peer| peer.rtc.close().map_err(|error| error.to_string()));
            self.remove(key, reason);
        }
    }

    fn remove(&mut self, key: u64, reason: &str) {
        let Some(peer) = self.peers.remove(&key) else { return };
        for ((protocol, remote), _) in self.routes.extract_if(|_, to| *to == key) {
            if protocol == Protocol::Tcp {
                self.net.disconnect(remote);
            }
        }
        tracing::info!(path = %peer.path.name, role = ?peer.role, reason, "session ended");
        peer.path.session_ended(&peer.session);
        if peer.role == Role::Reader {
            peer.path.release((peer.codec, peer.audio_codec()), &Handle::current());
        }
    }

    fn keys(&self, is_meant: impl Fn(&Peer) -> bool) -> Vec<u64> {
        self.peers.iter().filter(|(_, peer)| is_meant(peer)).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::Ends;

    #[tokio::test]
    async fn a_session_is_known_before_what_its_peer_sends_is_looked_at() {
        let (commands, command_inbox) = mpsc::channel(8);
        let (_units, units) = mpsc::channel(8);
        let (tcp, tcp_inbox) = mpsc::channel(64);
        let listeners = JoinSet::new();
        let mut inbox = Inbox { commands: command_inbox, units, tcp: tcp_inbox, listeners };
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        // As often as makes it no chance that the order is right.
        for path in 0..32 {
            let ends = Ends { local: address, remote: address };
            assert!(tcp.try_send(TcpEvent::Received(ends, vec![0; 20])).is_ok());
            assert!(commands.try_send(Command::ClosePath(path)).is_ok());
            let first = inbox.next().await;
            assert!(matches!(first, Incoming::Command(Some(Command::ClosePath(of))) if of == path));
            assert!(matches!(inbox.next().await, Incoming::Tcp(TcpEvent::Received(..))));
        }
    }
}
