//! The connections of one HTTP listener: how many there may be, how long a client may take over its greeting and a
//! request's head, and how they end.

use crate::tls::{Greeted, Tls};
use axum::Router;
use host_media::accept;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What bounds the cost of clients that say nothing, or say it slowly. Slow bodies are `host-api`'s matter.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// More than this wait until others end.
    pub connections: usize,
    /// From the first byte that could come to the end of the head, so that idle connections end too. A TLS handshake may
    /// take as long once more, and so may a client that takes nothing of its answer.
    pub head: Duration,
}

/// What every connection is served with.
#[derive(Clone)]
pub struct Service {
    pub router: Router,
    pub limits: Limits,
    /// None: without TLS.
    pub tls: Option<Arc<Tls>>,
}

/// Serves until `stop` turns true; then requests under way end, and no more are taken.
pub async fn serve(listener: TcpListener, service: Service, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < service.limits.connections;
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            (connection, _) = accept(&listener), if has_room => {
                connections.spawn(greet(connection, service.clone(), stop.clone()));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection, from its first byte.
async fn greet(connection: TcpStream, service: Service, mut stop: watch::Receiver<bool>) {
    let Service { router, limits, tls } = service;
    // Answers are small, and clients wait for them. Where it cannot be set, they still come.
    let _ = connection.set_nodelay(true);
    // Who takes nothing of an answer holds a connection no longer than who sends nothing: the kernel closes it. Where that
    // cannot be set, the limit on connections still holds.
    let _ = SockRef::from(&connection).set_tcp_user_timeout(Some(limits.head));
    let Some(tls) = tls else { return answer(connection, router, limits, stop).await };
    let greeting = tokio::time::timeout(limits.head, tls.greet(connection));
    let greeted = tokio::select! {
        greeted = greeting => greeted,
        () = stopped(&mut stop) => return,
    };
    match greeted {
        Ok(Ok(Greeted::Tls(connection))) => answer(connection, router, limits, stop).await,
        Ok(Ok(Greeted::Plain(connection))) => {
            answer(connection, host_api::https_only(), limits, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// All requests of one connection.
async fn answer(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let service = TowerToHyperService::new(router);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke off");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and then it is over too.
    drop(stop.wait_for(|is_over| *is_over).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMITS: Limits = Limits { connections: 1024, head: Duration::from_secs(30) };
    /// For what comes within milliseconds, or never.
    const PATIENCE: Duration = Duration::from_secs(20);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    async fn serving(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, Service { router, limits, tls: None }, stopped));
        (address, stop)
    }

    async fn is_answered(connection: &mut TcpStream) -> bool {
        connection.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 15];
        let read = connection.read_exact(&mut answer).await;
        read.is_ok() && &answer == b"HTTP/1.1 200 OK"
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_request_is_let_go() {
        let limits = Limits { head: Duration::from_millis(20), ..LIMITS };
        let (address, _stop) = serving(limits).await;
        for head in [&b""[..], b"GET / HTTP/1.1\r\nHost:"] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(head).await.unwrap();
            // Ends only when the server closes.
            let mut said = Vec::new();
            let end = connection.read_to_end(&mut said);
            tokio::time::timeout(PATIENCE, end).await.expect("it is closed").unwrap();
            assert!(!said.starts_with(b"HTTP/1.1 200"));
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_served_once_others_end() {
        let (address, _stop) = serving(Limits { connections: 1, ..LIMITS }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut first).await);
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut served = pin!(is_answered(&mut second));
        // The first connection is served as often as it likes while the second waits.
        for _ in 0..20 {
            tokio::select! {
                biased;
                _ = served.as_mut() => panic!("there was room for one connection only"),
                is_first = is_answered_again(&mut first) => assert!(is_first),
            }
        }
        drop(first);
        assert!(served.await);
    }

    /// Reads what is left of the answer before, too.
    async fn is_answered_again(connection: &mut TcpStream) -> bool {
        connection.write_all(REQUEST).await.unwrap();
        let mut said = vec![0; 4096];
        connection.read(&mut said).await.is_ok_and(|read| read > 0)
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answer_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // More than all buffers on the way hold.
        let router = Router::new()
            .route("/large", get(|| async { vec![0; 64 << 20] }))
            .route("/", get(|| async { "here" }));
        let limits = Limits { connections: 1, head: Duration::from_millis(300) };
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, Service { router, limits, tls: None }, stopped));
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        deaf.readable().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let served = tokio::time::timeout(PATIENCE, is_answered(&mut second)).await;
        assert_eq!(served, Ok(true));
    }

    #[tokio::test]
    async fn stopping_ends_idle_connections() {
        let (address, stop) = serving(LIMITS).await;
        let mut connection = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut connection).await);
        stop.send_replace(true);
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
