//! Counts what was asked over HTTP and how it was answered.

use axum::extract::MatchedPath;
use axum::http::{Method, Request, StatusCode};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A request as it is counted: nothing in it is a client's choice, so there are never many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub method: &'static str,
    /// The path as it is declared, or `other`.
    pub route: String,
    pub status: u16,
}

#[derive(Default)]
pub struct Traffic {
    counts: Mutex<BTreeMap<Kind, u64>>,
}

/// What is known of a request before it is answered.
pub struct Asked {
    method: &'static str,
    route: String,
}

impl Asked {
    pub fn of<B>(request: &Request<B>) -> Self {
        let path = request.extensions().get::<MatchedPath>();
        let route = path.map_or("other", MatchedPath::as_str).to_owned();
        Self { method: method_name(request.method()), route }
    }
}

impl Traffic {
    pub fn count(&self, asked: Asked, status: StatusCode) {
        let kind = Kind { method: asked.method, route: asked.route, status: status.as_u16() };
        // Counters hold at every step, even if a thread panicked between two.
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    pub fn snapshot(&self) -> BTreeMap<Kind, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Clients may invent methods.
fn method_name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|name| method == name).unwrap_or("other")
}
