//! The network: addresses of names, so that each can be looked at before any is used, and connections to addresses. No
//! proxy is asked, whatever the environment says: it would look names up by itself.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The system answers when it likes, on a thread that waits: these are all there are, so that no others run out.
const MOST_QUESTIONS: usize = 4;

pub trait Network: Send + Sync {
    /// All addresses of a name.
    fn resolve(&self, name: &str) -> Doing<Vec<IpAddr>>;
    /// A connection to this address and no other.
    fn connect(&self, address: SocketAddr) -> Doing<TcpStream>;
}

/// What is under way.
pub type Doing<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// This machine's.
pub struct SystemNetwork {
    questions: Arc<Semaphore>,
}

impl Default for SystemNetwork {
    fn default() -> Self {
        Self { questions: Arc::new(Semaphore::new(MOST_QUESTIONS)) }
    }
}

impl Network for SystemNetwork {
    fn resolve(&self, name: &str) -> Doing<Vec<IpAddr>> {
        let (questions, name) = (self.questions.clone(), name.to_owned());
        Box::pin(async move {
            let permit = questions.acquire_owned().await.map_err(io::Error::other)?;
            let asked = tokio::task::spawn_blocking(move || {
                // Kept by the thread: who asked may be gone long before it is done.
                let _permit = permit;
                let addresses = (name.as_str(), 0).to_socket_addrs()?;
                Ok(addresses.map(|address| address.ip()).collect())
            });
            asked.await.map_err(io::Error::other).flatten()
        })
    }

    fn connect(&self, address: SocketAddr) -> Doing<TcpStream> {
        Box::pin(TcpStream::connect(address))
    }
}
