//! Whether the certificate and its key are there and belong together. Whether clients believe it is between them and who
//! issued it.

use super::Finding;
use crate::tls::TlsFiles;
use std::error::Error;

const AREA: &str = "tls";

pub fn check(files: &TlsFiles) -> Finding {
    match files.open() {
        Ok(_) => Finding::ok(AREA, format!("{} fits its key", files.certificate.display())),
        Err(error) => {
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            let fix = "let `http.tls_certificate` and `http.tls_key` name a certificate and its key, or neither to serve plain HTTP";
            Finding::fail(AREA, format!("{error}{cause}"), fix)
        }
    }
}
