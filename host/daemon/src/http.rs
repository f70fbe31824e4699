//! The HTTP listeners: one that is announced, and aliases on the ports where older clients look for WHIP and WHEP. All
//! serve the same router.

use crate::connections::{self, Limits, Service};
use crate::tls::{Tls, TlsError, TlsFiles};
use axum::Router;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub address: IpAddr,
    /// 0 takes any free port.
    pub port: u16,
    pub media_ports: Vec<u16>,
    pub limits: Limits,
    /// None: plain HTTP.
    pub tls: Option<TlsFiles>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("`{key}`: port {port} of {address} is in use; stop what uses it, or choose another (0 takes any free one{or})", or = without(key))]
    InUse { key: &'static str, address: IpAddr, port: u16 },
    #[error(
        "`{key}`: cannot listen on port {port} of {address}; `{section}.listen` must be an address of this machine, and ports below 1024 need the right to use them",
        section = key.split('.').next().unwrap_or_default()
    )]
    Refused {
        key: &'static str,
        address: IpAddr,
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Bound, not yet serving.
pub struct Listeners {
    main: (TcpListener, SocketAddr),
    aliases: Vec<(TcpListener, SocketAddr)>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
}

/// Serving, each listener in a task of its own.
pub struct Servers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

pub async fn bind(config: &HttpConfig) -> Result<Listeners, ListenError> {
    let tls = config.tls.as_ref().map(TlsFiles::open).transpose()?.map(Arc::new);
    let main = bind_one("http.port", config.address, config.port).await?;
    let mut aliases = Vec::new();
    for port in &config.media_ports {
        aliases.push(bind_one("http.media_ports", config.address, *port).await?);
    }
    Ok(Listeners { main, aliases, limits: config.limits, tls })
}

/// One listener, without TLS, for somebody who is served apart.
pub async fn bind_alone(
    key: &'static str,
    address: IpAddr,
    port: u16,
    limits: Limits,
) -> Result<Listeners, ListenError> {
    let main = bind_one(key, address, port).await?;
    Ok(Listeners { main, aliases: Vec::new(), limits, tls: None })
}

impl Listeners {
    pub fn main_url(&self) -> String {
        self.url(self.main.1)
    }

    pub fn alias_urls(&self) -> Vec<String> {
        self.aliases.iter().map(|(_, address)| self.url(*address)).collect()
    }

    /// `http`, or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub fn main_port(&self) -> u16 {
        self.main.1.port()
    }

    /// `host:port` under which this machine reaches the host.
    pub fn local_authority(&self) -> String {
        reachable(self.main.1).to_string()
    }

    pub fn serve(self, router: Router) -> Servers {
        let (stop, stopped) = watch::channel(false);
        let service = Service { router, limits: self.limits, tls: self.tls };
        let mut tasks = JoinSet::new();
        for (listener, _) in std::iter::once(self.main).chain(self.aliases) {
            tasks.spawn(connections::serve(listener, service.clone(), stopped.clone()));
        }
        Servers { tasks, stop }
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("{}://{}", self.scheme(), reachable(address))
    }
}

impl Servers {
    /// Closes the listeners; requests under way may end.
    pub fn refuse_more(&self) {
        self.stop.send_replace(true);
    }

    pub async fn join(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an HTTP listener ended with a panic");
            }
        }
    }
}

impl ListenError {
    /// `key` is the setting that names the port.
    pub fn new(key: &'static str, (address, port): (IpAddr, u16), source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { key, address, port },
            _ => Self::Refused { key, address, port, source },
        }
    }
}

async fn bind_one(
    key: &'static str,
    address: IpAddr,
    port: u16,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let refused = |source| ListenError::new(key, (address, port), source);
    let listener = TcpListener::bind((address, port)).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

fn without(key: &str) -> &'static str {
    match key {
        "http.media_ports" => ", [] does without",
        "rtsp.port" => "; `rtsp.enabled = false` does without",
        "rtmp.port" => "; `rtmp.enabled = false` does without",
        _ => "",
    }
}

/// An address that stands for all interfaces is none that a browser could open.
fn reachable(address: SocketAddr) -> SocketAddr {
    let local: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(local, address.port())
}
