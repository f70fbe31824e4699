//! The host with a certificate: what it serves then, to whom, and what it does when the files change.

mod support;

use host_daemon::{Config, Running, StartError, start};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For what comes within seconds, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// The two files, and the settings that name them.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// Puts a new pair in place, and gives what a client must trust.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = pair();
        self.replace("cert.pem", &certificate.pem());
        self.replace("key.pem", &key);
        certificate.der().clone()
    }

    fn replace(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).expect("a file");
        std::fs::rename(self.path("new"), self.path(name)).expect("a rename");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start(&self, more: &[(&'static str, &str)]) -> Result<Running, StartError> {
        let tls = [("SDH_HTTP__TLS_CERTIFICATE", "cert.pem"), ("SDH_HTTP__TLS_KEY", "key.pem")];
        let tls = tls.map(|(name, file)| (name, self.path(file).into_os_string()));
        let more = more.iter().map(|(name, value)| (*name, value.into()));
        let settings = support::settings(&self.folder).into_iter().chain(tls).chain(more);
        let settings = settings.map(|(name, value)| (name.into(), value));
        start(Config::load(None, settings).expect("settings").config).await
    }
}

fn pair() -> (rcgen::Certificate, String) {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a pair");
    (pair.cert, pair.signing_key.serialize_pem())
}

fn authority(running: &Running) -> String {
    running.addresses().http.strip_prefix("https://").expect("a URL of TLS").to_owned()
}

/// The whole answer to a GET, by a client that trusts this certificate alone.
async fn get(running: &Running, trusted: &CertificateDer<'_>, path: &str) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone().into_owned()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = TcpStream::connect(authority(running)).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    ask(TlsConnector::from(Arc::new(config)).connect(name, connection).await?, path).await
}

async fn ask(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> io::Result<String> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_served_by_tls_and_urls_say_so() {
    let files = Files::new();
    let trusted = files.renew();
    let settings = [("SDH_HTTP__MEDIA_PORTS", "0"), ("EXTERNAL_HOST", "video.example:443")];
    let running = files.start(&settings).await.expect("it starts");
    let health = get(&running, &trusted, "/health").await.expect("an answer");
    assert!(health.starts_with("HTTP/1.1 200 OK"), "{health}");
    let page = get(&running, &trusted, "/").await.expect("an answer");
    // The page may call the server where it says that it is.
    assert!(page.contains("connect-src 'self' https://video.example:443;"), "{page}");
    assert!(running.addresses().aliases[0].starts_with("https://"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_plain_http_is_told_to_use_https() {
    let files = Files::new();
    files.renew();
    let running = files.start(&[]).await.expect("it starts");
    let connection = TcpStream::connect(authority(&running)).await.expect("it listens");
    let answer = ask(connection, "/v1/streams").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("REQUEST/HTTPS_ONLY") && answer.contains("https://"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_counts_for_the_next_connection_and_a_broken_one_for_none() {
    let files = Files::new();
    let first = files.renew();
    let running = files.start(&[]).await.expect("it starts");
    let second = files.renew();
    assert!(get(&running, &second, "/health").await.is_ok());
    assert!(get(&running, &first, "/health").await.is_err(), "the old one is gone");
    files.replace("key.pem", "no key");
    assert!(get(&running, &second, "/health").await.is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stands_still_is_ended() {
    let files = Files::new();
    let trusted = files.renew();
    let limits = [("SDH_HTTP__HEAD_TIMEOUT_SECONDS", "1"), ("SDH_HTTP__MAX_CONNECTIONS", "3")];
    let running = files.start(&limits).await.expect("it starts");
    // Nothing, a record's type, and a length that never comes: as many as there may be.
    let mut stuck = Vec::new();
    for start in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1]] {
        let mut connection = TcpStream::connect(authority(&running)).await.expect("it listens");
        connection.write_all(start).await.expect("it reads");
        stuck.push(connection);
    }
    for connection in &mut stuck {
        let mut said = Vec::new();
        let end = connection.read_to_end(&mut said);
        tokio::time::timeout(PATIENCE, end).await.expect("in time").expect("the server closes");
    }
    assert!(get(&running, &trusted, "/health").await.is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_serve_are_named_at_the_start() {
    let files = Files::new();
    let refused = async || {
        let error = files.start(&[]).await.err().expect("it does not start");
        error.to_string()
    };
    let text = refused().await;
    assert!(text.starts_with("`http.tls_certificate`") && text.contains("cert.pem"), "{text}");
    files.renew();
    files.replace("cert.pem", "");
    let text = refused().await;
    assert!(text.starts_with("`http.tls_certificate`") && text.contains("cert.pem"), "{text}");
    files.renew();
    files.replace("key.pem", "-----BEGIN NOTHING-----");
    let text = refused().await;
    assert!(text.starts_with("`http.tls_key`") && text.contains("key.pem"), "{text}");
    files.renew();
    files.replace("key.pem", &pair().1);
    let text = refused().await;
    assert!(text.contains("cert.pem") && text.contains("key.pem"), "{text}");
}
