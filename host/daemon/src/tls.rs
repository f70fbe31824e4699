//! TLS of the HTTP listeners: the certificate's files, read again when they change, and the handshake.

use crate::watched::Watched;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// First byte of every handshake, and of no HTTP request.
const HANDSHAKE: u8 = 22;

/// In PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate first, then those that vouch for it.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(
        "`http.tls_certificate`: cannot take certificates from {}; it must be a file in PEM, the server's certificate first",
        path.display()
    )]
    Certificate {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("`http.tls_key`: cannot take a key from {}; it must be a file in PEM, without a passphrase", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("the certificate in {} does not serve with the key in {}", .0.certificate.display(), .0.key.display())]
    Pair(TlsFiles, #[source] rustls::Error),
}

/// What new connections are greeted with.
pub struct Tls {
    acceptor: Watched<TlsAcceptor, TlsError>,
}

/// What a client that connected turned out to speak.
pub enum Greeted {
    Tls(Box<TlsStream<TcpStream>>),
    /// Not TLS, so most likely HTTP.
    Plain(TcpStream),
}

impl TlsFiles {
    pub fn open(&self) -> Result<Tls, TlsError> {
        let files = self.clone();
        let paths = vec![files.certificate.clone(), files.key.clone()];
        Ok(Tls { acceptor: Watched::new(paths, move || files.read())? })
    }

    fn read(&self) -> Result<TlsAcceptor, TlsError> {
        let certificate = |source| TlsError::Certificate { path: self.certificate.clone(), source };
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(certificate)?;
        if chain.is_empty() {
            return Err(certificate(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::Key { path: self.key.clone(), source })?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| TlsError::Pair(self.clone(), error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Tls {
    /// Waits for what the client says first, and for the handshake if it is one. The time limit is the caller's.
    pub async fn greet(&self, connection: TcpStream) -> io::Result<Greeted> {
        let mut first = [0];
        if connection.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            return Ok(Greeted::Plain(connection));
        }
        let acceptor = self.acceptor.current();
        Ok(Greeted::Tls(Box::new(acceptor.accept(connection).await?)))
    }
}
