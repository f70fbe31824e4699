//! `/docs`: Swagger UI out of the binary. Names no foreign host, and every link in it is relative, so that it works
//! behind a proxy that strips a prefix.

use crate::answer::without_secrets;
use crate::errors::ApiError;
use crate::path::Parameters;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// Swagger UI styles its elements inline.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("../openapi.json").validator_url("none")));

pub async fn to_folder() -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "docs/")]).into_response()
}

pub async fn index(uri: Uri) -> Result<Response, ApiError> {
    serve("index.html", &uri)
}

pub async fn file(uri: Uri, Parameters(name): Parameters<String>) -> Result<Response, ApiError> {
    serve(&name, &uri)
}

fn serve(name: &str, uri: &Uri) -> Result<Response, ApiError> {
    let missing = || ApiError::NoSuchPath { path: without_secrets(uri.path()) };
    let file = utoipa_swagger_ui::serve(name, CONFIG.clone()).ok().flatten().ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, file.content_type.as_str()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, file.bytes.to_vec()).into_response())
}
