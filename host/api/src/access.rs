//! Who may call: tokens and their scopes on `/v1/*`, and a stream's key where the URL does not hold it. Which tokens there
//! are is the daemon's matter.

use crate::App;
use crate::errors::ApiError;
use crate::wire::Stream;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use std::str::FromStr;

/// What a call on `/v1/*` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Make and delete streams.
    Create,
    /// Read and change streams.
    Control,
    /// Read streams, without the keys to publish.
    View,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    pub create: bool,
    pub control: bool,
    pub view: bool,
}

/// Decides who is let in. Asked at every request, so that tokens come and go while the host runs.
pub trait Gate: Send + Sync {
    /// What a caller with this token, or without any, may do; none is refused with 401.
    fn scopes_of(&self, token: Option<&str>) -> Option<Scopes>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope `{0}`; there are create, control and view")]
pub struct UnknownScope(String);

impl Scope {
    pub const ALL: [Self; 3] = [Self::Create, Self::Control, Self::View];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Control => "control",
            Self::View => "view",
        }
    }

    /// The method tells what a call does, so a new path needs no rule of its own.
    fn needed_for(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::View,
            Method::PATCH => Self::Control,
            _ => Self::Create,
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

impl Scopes {
    pub const ALL: Self = Self { create: true, control: true, view: true };

    /// Whoever may change a stream may also look at it.
    pub fn allow(self, scope: Scope) -> bool {
        match scope {
            Scope::Create => self.create,
            Scope::Control => self.control,
            Scope::View => self.view || self.control,
        }
    }

    pub fn names(self) -> Vec<&'static str> {
        let held = [self.create, self.control, self.view];
        Scope::ALL.into_iter().zip(held).filter(|(_, held)| *held).map(|(s, _)| s.name()).collect()
    }

    /// A stream as the bearer may see it: looking on is no right to publish.
    pub fn shown(self, stream: Stream) -> Stream {
        if self.create || self.control { stream } else { stream.without_keys() }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        let mut all = Self::default();
        for scope in scopes {
            match scope {
                Scope::Create => all.create = true,
                Scope::Control => all.control = true,
                Scope::View => all.view = true,
            }
        }
        all
    }
}

/// Lets a call through with its caller's [`Scopes`] among the request's extensions.
pub async fn check_token(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let held = match &app.config.gate {
        None => Scopes::ALL,
        Some(gate) => gate.scopes_of(bearer(request.headers())).ok_or(ApiError::NoToken)?,
    };
    let needed = Scope::needed_for(request.method());
    if !held.allow(needed) {
        return Err(ApiError::NotAllowed { needed, held });
    }
    request.extensions_mut().insert(held);
    Ok(next.run(request).await)
}

/// Whether the request carries `Bearer <expected>`.
pub fn has_bearer(headers: &HeaderMap, expected: &str) -> bool {
    bearer(headers).is_some_and(|sent| is_same(sent.as_bytes(), expected.as_bytes()))
}

/// Takes equally long wherever the first difference is.
pub fn is_same(sent: &[u8], expected: &[u8]) -> bool {
    let pairs = sent.iter().zip(expected);
    let difference = pairs.fold(0, |difference, (a, b)| difference | (a ^ b));
    sent.len() == expected.len() && difference == 0
}

/// What stands behind `Bearer`, the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = sent.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
