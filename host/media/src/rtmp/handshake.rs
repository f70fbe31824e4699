//! What both ends of an RTMP connection say first. The plain form, which has nothing to hide or prove; peers that would
//! rather have the one with digests take it.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 3;
const SIZE: usize = 1536;

/// As the end that was connected to. The time limit is the caller's.
pub(crate) async fn accept(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut hello = [0; 1 + SIZE];
    // Told at its first byte, so that a stranger of another protocol is not waited for.
    stream.read_exact(&mut hello[..1]).await?;
    check(hello[0])?;
    stream.read_exact(&mut hello[1..]).await?;
    let answer = [&ours()[..], &hello[1..]].concat();
    stream.write_all(&answer).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; SIZE]).await?;
    Ok(())
}

/// As the end that connected.
pub(crate) async fn connect(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&ours()).await?;
    stream.flush().await?;
    let mut answer = [0; 1 + 2 * SIZE];
    stream.read_exact(&mut answer[..1]).await?;
    check(answer[0])?;
    stream.read_exact(&mut answer[1..]).await?;
    stream.write_all(&answer[1..=SIZE]).await?;
    stream.flush().await
}

fn check(version: u8) -> io::Result<()> {
    match version {
        VERSION => Ok(()),
        other => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it does not speak RTMP: its first byte is {other}, not {VERSION}"),
        )),
    }
}

/// A version, a time and a version of 0, and any bytes: all that the plain form asks for.
fn ours() -> [u8; 1 + SIZE] {
    let mut hello = [0; 1 + SIZE];
    hello[0] = VERSION;
    for part in hello[9..].chunks_mut(16) {
        part.copy_from_slice(&uuid::Uuid::new_v4().into_bytes()[..part.len()]);
    }
    hello
}
