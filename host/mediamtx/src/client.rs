//! Calls of MediaMTX's control API, version 3, which has been the same since 1.2 but for names in its answers.

use crate::figures::PathFigures;
use crate::paths::PathConfig;
use crate::version::Version;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read;
use std::time::Duration;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

/// How long a call may take, from the connection to the last byte.
const LONGEST_CALL: Duration = Duration::from_secs(5);
/// A hundred paths with all their settings are a tenth of it.
const LARGEST_ANSWER: u64 = 4 << 20;
const PAGE: usize = 100;
/// Whoever has more paths than fit in so many pages is not worth following.
const MOST_PAGES: usize = 100;
/// Of what it says of an error.
const LONGEST_REASON: usize = 300;

/// Where the API is, and as whom it is called.
#[derive(Clone)]
pub struct Access {
    /// `http://127.0.0.1:9997`
    pub url: String,
    /// Empty: without.
    pub user: String,
    pub password: String,
}

/// Blocks; every call is bounded in time and size.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the API of MediaMTX at {url} does not answer")]
    Unreachable {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("the API of MediaMTX at {url} asks for another user or password than it was given")]
    Unauthorized { url: String },
    #[error("MediaMTX answers {status} to {call}: {reason}")]
    Refused { call: String, status: u16, reason: String },
    #[error("what MediaMTX answers to {call} is no answer of its API: {reason}")]
    Nonsense { call: String, reason: String },
    #[error("the host is stopping")]
    Stopping,
}

/// What is looked at of the settings of all paths.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GlobalConfig {
    pub auth_method: String,
    #[serde(rename = "authHTTPAddress")]
    pub auth_http_address: String,
    #[serde(rename = "authHTTPExclude")]
    pub auth_http_exclude: Option<Vec<Permission>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Permission {
    pub action: String,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    page_count: usize,
    items: Vec<T>,
}

impl Client {
    pub fn new(access: &Access) -> Self {
        let builder = Agent::config_builder()
            .user_agent(concat!("streamdiffusion-host/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            // It stands beside the host or in its network.
            .proxy(None)
            .timeout_global(Some(LONGEST_CALL));
        let credentials = || STANDARD.encode(format!("{}:{}", access.user, access.password));
        let authorization = (!access.user.is_empty()).then(|| format!("Basic {}", credentials()));
        let url = access.url.trim_end_matches('/').to_owned();
        Self { agent: builder.build().into(), url, authorization }
    }

    /// None where it does not tell, which it does from 1.15.2 on.
    pub fn version(&self) -> Result<Option<Version>, CallError> {
        let call = "info";
        let told: Info = match self.get(call) {
            Err(CallError::Refused { status: 404, .. }) => return Ok(None),
            told => told?,
        };
        let reason = format!("`{}` is no version", cut(&told.version));
        Version::parse(&told.version).map(Some).ok_or_else(|| nonsense(call, reason))
    }

    pub fn global_config(&self) -> Result<GlobalConfig, CallError> {
        self.get("config/global/get")
    }

    /// Those that have settings of their own.
    pub fn path_configs(&self) -> Result<Vec<PathConfig>, CallError> {
        self.list("config/paths/list")
    }

    /// Those that somebody uses.
    pub fn paths(&self) -> Result<Vec<PathFigures>, CallError> {
        self.list("paths/list")
    }

    pub fn add_path(&self, name: &str, config: &Value) -> Result<(), CallError> {
        self.change(Method::POST, &format!("config/paths/add/{name}"), Some(config))
    }

    pub fn replace_path(&self, name: &str, config: &Value) -> Result<(), CallError> {
        self.change(Method::POST, &format!("config/paths/replace/{name}"), Some(config))
    }

    /// One that is gone already is what was wanted.
    pub fn delete_path(&self, name: &str) -> Result<(), CallError> {
        match self.change(Method::DELETE, &format!("config/paths/delete/{name}"), None) {
            Err(CallError::Refused { status: 404, .. }) => Ok(()),
            ended => ended,
        }
    }

    fn list<T: DeserializeOwned>(&self, call: &str) -> Result<Vec<T>, CallError> {
        let mut items = Vec::new();
        for number in 0..MOST_PAGES {
            let page: Page<T> = self.get(&format!("{call}?itemsPerPage={PAGE}&page={number}"))?;
            items.extend(page.items);
            if number + 1 >= page.page_count {
                return Ok(items);
            }
        }
        Err(nonsense(call, format!("it has more than {MOST_PAGES} pages")))
    }

    fn get<T: DeserializeOwned>(&self, call: &str) -> Result<T, CallError> {
        let body = self.call(Method::GET, call, None)?;
        serde_json::from_slice(&body).map_err(|error| nonsense(call, error.to_string()))
    }

    fn change(&self, method: Method, call: &str, body: Option<&Value>) -> Result<(), CallError> {
        self.call(method, call, body).map(drop)
    }

    fn call(&self, method: Method, call: &str, body: Option<&Value>) -> Result<Vec<u8>, CallError> {
        let mut request = Request::builder().method(method).uri(format!("{}/v3/{call}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let unreachable =
            |source| CallError::Unreachable { url: self.url.clone(), source: Box::new(source) };
        let answered = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => {
                let request = request.body(()).map_err(ureq::Error::from);
                request.and_then(|request| self.agent.run(request))
            }
        };
        let response = answered.map_err(unreachable)?;
        let status = response.status();
        let text = read(response).map_err(|error| match error {
            ReadError::TooLong => {
                nonsense(call, format!("it is longer than {LARGEST_ANSWER} bytes"))
            }
            ReadError::Broken(error) => unreachable(ureq::Error::Io(error)),
        })?;
        match status {
            StatusCode::OK => Ok(text),
            StatusCode::UNAUTHORIZED => Err(CallError::Unauthorized { url: self.url.clone() }),
            _ => Err(CallError::Refused {
                call: call.to_owned(),
                status: status.as_u16(),
                reason: reason(&text),
            }),
        }
    }
}

enum ReadError {
    TooLong,
    Broken(std::io::Error),
}

fn read(response: Response<Body>) -> Result<Vec<u8>, ReadError> {
    let mut text = Vec::new();
    let mut reader = response.into_body().into_reader().take(LARGEST_ANSWER + 1);
    reader.read_to_end(&mut text).map_err(ReadError::Broken)?;
    if text.len() as u64 > LARGEST_ANSWER { Err(ReadError::TooLong) } else { Ok(text) }
}

/// What stands in the body of an error, or the body.
fn reason(body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok();
    let told = told.as_ref().and_then(|told| told.get("error")?.as_str());
    cut(told.map_or_else(|| String::from_utf8_lossy(body), Into::into).trim())
}

/// In one line, and not long.
fn cut(text: &str) -> String {
    text.chars().take(LONGEST_REASON).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn nonsense(call: &str, reason: String) -> CallError {
    CallError::Nonsense { call: call.to_owned(), reason }
}
