//! Whether the certificate and its key can be served.

use super::Finding;
use crate::tls::TlsFiles;
use std::error::Error;

const AREA: &str = "tls";

pub fn check(files: &TlsFiles) -> Finding {
    match files.open() {
        Ok(_) => Finding::ok(AREA, format!("{} can be served", files.certificate.display())),
        Err(error) => {
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            let fix = "let `http.tls_certificate` and `http.tls_key` name a certificate and its key, or neither to serve plain HTTP";
            Finding::fail(AREA, format!("{error}{cause}"), fix)
        }
    }
}
