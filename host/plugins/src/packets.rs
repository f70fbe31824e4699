//! Packets with descriptors over a Unix SOCK_SEQPACKET socket.
//!
//! What does not fit a packet travels in a memfd beside it. Only the host may do that: the worker reads what it is given,
//! the host takes nothing but bounded packets from a worker.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;

/// Greatest packet in bytes: a plan of 64 KiB with what is around it.
const MAX_PACKET: usize = 80 << 10;
/// Greatest message in bytes, by way of a memfd.
const MAX_MESSAGE: u64 = 32 << 20;
/// Descriptors with one packet: socket, frame memory, and the message itself when it is large.
const MAX_DESCRIPTORS: usize = 3;
/// First byte of a packet: the message follows.
const INLINE: u8 = 0;
/// First byte of a packet: the message is in the last descriptor.
const IN_FILE: u8 = 1;

/// One end of a socket.
pub(crate) struct Packets {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A message and the descriptors that came with it.
pub(crate) struct Received<T> {
    pub message: T,
    pub descriptors: Vec<OwnedFd>,
}

impl Packets {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MAX_PACKET] }
    }

    /// Two connected ends: one to keep, which never blocks, and one to give away.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Questions come one at a time, so there is room for each unless the worker does not take them: then the host
        // must not wait for it. It receives only when told that there is something.
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Self::new(ours), theirs))
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a message. While the other end's buffer is full, a worker waits and the host fails.
    pub(crate) fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors.
    pub(crate) fn send_with<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let packet = postcard::to_extend(message, vec![INLINE]).map_err(io::Error::other)?;
        if packet.len() <= MAX_PACKET {
            return self.send_packet(&packet, descriptors);
        }
        let mut file = File::from(rustix::fs::memfd_create("sdh-message", MemfdFlags::CLOEXEC)?);
        file.write_all(&packet[1..])?;
        file.rewind()?;
        let mut descriptors = descriptors.to_vec();
        descriptors.push(file.as_fd());
        self.send_packet(&[IN_FILE], &descriptors)
    }

    fn send_packet(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.is_empty() {
            retry(|| rustix::net::send(&self.socket, packet, SendFlags::NOSIGNAL))?;
            return Ok(());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one packet"));
        }
        let packet = [IoSlice::new(packet)];
        retry(|| rustix::net::sendmsg(&self.socket, &packet, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// The next message from a worker, bounded and without descriptors; none when the other end is closed.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let buffer = self.buffer.as_mut_slice();
        // TRUNC makes the length that of the whole packet, so that a longer one is seen.
        let received = retry(|| rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::TRUNC));
        let length = match received {
            // The other end closed with something of ours unread.
            Err(Errno::CONNRESET) => return Ok(None),
            received => received?.1,
        };
        match self.buffer.get(..length) {
            Some([]) => Ok(None),
            Some([INLINE, message @ ..]) => parse(message).map(Some),
            Some(_) => Err(io::Error::other("a packet of an unknown kind")),
            None => {
                Err(io::Error::other(format!("a packet of {length} bytes; {MAX_PACKET} is most")))
            }
        }
    }

    /// The next message from the host; none when the other end is closed.
    pub(crate) fn receive_with<T: DeserializeOwned>(&mut self) -> io::Result<Option<Received<T>>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut packet = [IoSliceMut::new(&mut self.buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&self.socket, &mut packet, &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                received => break received?.bytes,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let message = match &self.buffer[..length] {
            [] => return Ok(None),
            [INLINE, message @ ..] => parse(message)?,
            _ => {
                let file = descriptors.pop().ok_or_else(|| io::Error::other("no descriptor"))?;
                let mut message = Vec::new();
                File::from(file).take(MAX_MESSAGE).read_to_end(&mut message)?;
                parse(&message)?
            }
        };
        Ok(Some(Received { message, descriptors }))
    }
}

fn parse<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
    postcard::from_bytes(message)
        .map_err(|error| io::Error::other(format!("an unreadable message: {error}")))
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_whatever_their_length() {
        let (ours, theirs) = Packets::pair().unwrap();
        let mut theirs = Packets::new(theirs);
        for length in [0, 1, 1000, MAX_PACKET - 10, MAX_PACKET, 3_000_000] {
            let text = "x".repeat(length);
            ours.send(&text).unwrap();
            let received: Received<String> = theirs.receive_with().unwrap().unwrap();
            assert_eq!(received.message, text);
            assert!(received.descriptors.is_empty());
        }
        drop(ours);
        assert!(theirs.receive_with::<String>().unwrap().is_none());
    }

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (ours, theirs) = Packets::pair().unwrap();
        let mut theirs = Packets::new(theirs);
        let (one, two) = Packets::pair().unwrap();
        for text in ["short".to_owned(), "long".repeat(100_000)] {
            ours.send_with(&text, &[one.socket(), two.as_fd()]).unwrap();
            let received: Received<String> = theirs.receive_with().unwrap().unwrap();
            assert_eq!((received.message, received.descriptors.len()), (text, 2));
        }
    }

    #[test]
    fn a_worker_that_takes_nothing_does_not_make_the_host_wait() {
        let (ours, _theirs) = Packets::pair().unwrap();
        let refused = (0..100_000).find_map(|_| ours.send(&"question").err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_a_worker_sends_is_bounded_and_checked() {
        let hostile: [&[u8]; 4] =
            [&[7], &[IN_FILE], &[INLINE, 200, 200, 200], &[INLINE; MAX_PACKET + 1]];
        for packet in hostile {
            let (mut ours, theirs) = Packets::pair().unwrap();
            rustix::net::send(&theirs, packet, SendFlags::NOSIGNAL).unwrap();
            assert!(ours.receive::<String>().is_err(), "{} bytes were taken", packet.len());
        }
    }
}
