//! Who is believed when a host shows its certificate.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("cannot read the certificates in {}; it must be a file in PEM", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{} has no certificate of an authority that can be used", .0.display())]
    None(PathBuf),
}

/// The built-in authorities, and those in the file.
pub fn client_config(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, AuthoritiesError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = authorities {
        let read = |source| AuthoritiesError::Read { path: path.to_owned(), source };
        let certificates = CertificateDer::pem_file_iter(path).map_err(read)?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(read)?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(AuthoritiesError::None(path.to_owned()));
        }
    }
    // Named here, since the program may have another for other purposes.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of the default versions");
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
