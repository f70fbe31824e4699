//! What the hub says of a repository at a revision: its commit, its files, and the checksum and size of each.

use crate::checksum::Checksum;
use crate::client::{Client, encode, header};
use crate::error::{PullError, TransferError};
use crate::names::{FileName, ModelId, Revision, shortened};
use crate::patience::Trouble;
use crate::settings::Hub;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;

const MAX_LISTING_BYTES: u64 = 16 << 20;
const MAX_INDEX_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 2000;

const LINKED_ETAG: &str = "X-Linked-Etag";

pub struct Repository<'a> {
    client: Client<'a>,
    hub: &'a Hub,
    id: &'a ModelId,
    revision: &'a Revision,
}

/// A commit and the files it has.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    pub commit: String,
    pub files: Vec<FileName>,
    /// In bytes, of those files whose size the hub was asked for and tells.
    pub sizes: BTreeMap<FileName, u64>,
}

/// What a file's bytes must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub checksum: Checksum,
    pub size: u64,
}

#[derive(Deserialize)]
struct RawListing {
    sha: String,
    #[serde(default)]
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
}

impl<'a> Repository<'a> {
    pub fn new(hub: &'a Hub, id: &'a ModelId, revision: &'a Revision) -> Self {
        Self { client: Client::new(hub), hub, id, revision }
    }

    pub fn listing_url(&self) -> String {
        // A slash in a revision is none of the path.
        let revision = encode(self.revision.as_str()).replace('/', "%2F");
        format!("{}/api/models/{}/revision/{revision}", self.hub.endpoint, self.id)
    }

    /// The listing that tells sizes, too.
    pub fn sizes_url(&self) -> String {
        self.listing_url() + "?blobs=true"
    }

    pub fn file_url(&self, commit: &str, file: &FileName) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.hub.endpoint, self.id, encode(file.as_str()))
    }

    /// The listing at one of its addresses.
    pub fn listing(&self, url: &str) -> Result<Listing, Trouble> {
        let response = self.client.get(url, 0)?;
        self.check(&response, url, None)?;
        let bytes = self.client.read(url, response.into_body(), MAX_LISTING_BYTES)?;
        Ok(parse_listing(&bytes, self.id, url)?)
    }

    /// A pipeline's index, as JSON.
    pub fn index(&self, commit: &str, file: &FileName) -> Result<Map<String, Value>, Trouble> {
        let url = self.file_url(commit, file);
        let response = self.client.get(&url, 0)?;
        self.check(&response, &url, Some(file))?;
        let bytes = self.client.read(&url, response.into_body(), MAX_INDEX_BYTES)?;
        let why = |error| PullError::Answer { url, why: bad_json("it is no JSON object", &error) };
        Ok(serde_json::from_slice(&bytes).map_err(why)?)
    }

    pub fn facts(&self, commit: &str, file: &FileName) -> Result<Facts, Trouble> {
        let url = self.file_url(commit, file);
        let response = self.client.head(&url, LINKED_ETAG)?;
        let is_redirect = response.status().is_redirection();
        if !is_redirect {
            self.check(&response, &url, Some(file))?;
        }
        let (etag, size) = match header(&response, LINKED_ETAG) {
            Some(etag) => (Some(etag), header(&response, "X-Linked-Size")),
            None => (header(&response, "ETag"), header(&response, "Content-Length")),
        };
        let lacking = |what: &str| PullError::Answer { url: url.clone(), why: what.to_owned() };
        let other = header(&response, "X-Repo-Commit").filter(|other| *other != commit);
        if let Some(other) = other {
            let other: String = other.chars().take(64).collect();
            return Err(lacking(&format!("it is of commit {other}")).into());
        }
        let checksum = etag.and_then(Checksum::of_etag);
        let checksum = checksum.ok_or_else(|| lacking("it has no SHA-1 or SHA-256 as ETag"))?;
        let size = size.and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| lacking("it does not tell the size of the file"))?;
        Ok(Facts { checksum, size })
    }

    /// The bytes of a file from one on, if the server can; status 200, 206 or 416.
    pub fn open(&self, url: &str, file: &FileName, from: u64) -> Result<Response<Body>, Trouble> {
        let response = self.client.get(url, from)?;
        let is_range = matches!(response.status().as_u16(), 206 | 416) && from > 0;
        if !is_range {
            self.check(&response, url, Some(file))?;
        }
        Ok(response)
    }

    /// Lets nothing but status 200 pass.
    fn check<B>(
        &self,
        response: &Response<B>,
        url: &str,
        file: Option<&FileName>,
    ) -> Result<(), Trouble> {
        let status = response.status().as_u16();
        let reason = header(response, "X-Error-Code").unwrap_or_default();
        match (status, reason) {
            (200, _) => Ok(()),
            (401 | 403 | 404, _) => Err(self.refusal(status, reason, file).into()),
            (429, _) => {
                let seconds = header(response, "Retry-After").and_then(|text| text.parse().ok());
                let wait = seconds.map(Duration::from_secs);
                Err(Trouble::Passing { source: TransferError::Status(status), wait })
            }
            (408 | 500..=599, _) => Err(TransferError::Status(status).into()),
            _ => Err(PullError::Status { url: url.to_owned(), status }.into()),
        }
    }

    fn refusal(&self, status: u16, reason: &str, file: Option<&FileName>) -> PullError {
        let (id, endpoint) = (self.id.clone(), self.hub.endpoint.clone());
        let revision = self.revision.clone();
        let has_token = self.hub.token.is_some();
        match (status, reason, file) {
            // The hub does not tell strangers which private models there are.
            (401, "RepoNotFound", _) => PullError::NotPublic { id, endpoint, has_token },
            (401 | 403, _, _) => PullError::Gated { id, endpoint, has_token },
            (_, "RevisionNotFound", _) => PullError::NoRevision { id, revision },
            (_, "RepoNotFound", _) | (_, _, None) => PullError::NoModel { id, endpoint },
            (_, _, Some(file)) => PullError::NoFile { id, revision, file: file.clone() },
        }
    }
}

/// Reads what the hub lists. One name that leads outside, and nothing of the answer is believed.
pub fn parse_listing(bytes: &[u8], id: &ModelId, url: &str) -> Result<Listing, PullError> {
    let answer = |why: String| PullError::Answer { url: url.to_owned(), why };
    let raw: RawListing = serde_json::from_slice(bytes)
        .map_err(|error| answer(bad_json("it is no listing", &error)))?;
    let is_commit = raw.sha.len() == 40 && raw.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_commit {
        return Err(answer("`sha` is not a commit of 40 hexadecimal digits".to_owned()));
    }
    let count = raw.siblings.len();
    if count > MAX_FILES {
        return Err(PullError::TooManyFiles { id: id.clone(), count, limit: MAX_FILES });
    }
    let (mut files, mut sizes) = (BTreeSet::new(), BTreeMap::new());
    for RawFile { rfilename, size } in raw.siblings {
        let name = FileName::parse(&rfilename).map_err(|error| answer(error.to_string()))?;
        sizes.extend(size.map(|size| (name.clone(), size)));
        files.insert(name);
    }
    let (commit, files) = (raw.sha.to_ascii_lowercase(), files.into_iter().collect());
    Ok(Listing { commit, files, sizes })
}

/// The parser repeats what it did not expect, however long that is.
fn bad_json(what: &str, error: &serde_json::Error) -> String {
    format!("{what}: {}", shortened(&error.to_string()))
}
