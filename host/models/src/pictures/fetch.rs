//! Fetches the bytes at a URL. Redirects are followed here, so that each place is judged as the first one was, by its text
//! and then by all addresses of its name; and the connection is made to an address that was judged. So a name that leads
//! elsewhere the next time it is asked for changes nothing.

use super::connection::{Answer, Way, explain};
use super::error::FetchError;
use super::network::Network;
use super::{Limits, Rules, source};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Response, header};
use rustls::ClientConfig;
use std::net::IpAddr;
use std::sync::Arc;
use url::{Host, Url};

const MOST_REDIRECTS: usize = 5;

pub struct Fetcher {
    pub rules: Rules,
    pub limits: Limits,
    pub network: Arc<dyn Network>,
    pub tls: Arc<ClientConfig>,
}

impl Fetcher {
    /// The bytes at a URL that was checked. All of it takes no longer than the limit.
    pub async fn fetch(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let total = self.limits.total;
        let fetched = tokio::time::timeout(total, self.follow(url)).await;
        fetched.unwrap_or(Err(FetchError::TooSlow(total)))
    }

    async fn follow(&self, mut url: Url) -> Result<Vec<u8>, FetchError> {
        for _ in 0..=MOST_REDIRECTS {
            let addresses = self.addresses(&url).await?;
            let (network, tls, limit) = (&*self.network, &self.tls, self.limits.connect);
            let answer = Way { network, addresses: &addresses, tls, limit }.ask(&url).await?;
            match answer.response.status().as_u16() {
                200 => return self.read(answer).await,
                301 | 302 | 303 | 307 | 308 => url = self.target(&url, &answer.response)?,
                status => return Err(FetchError::Status(status)),
            }
        }
        Err(FetchError::TooManyRedirects { limit: MOST_REDIRECTS })
    }

    /// Where the URL's host can be reached; none where one of its addresses may not be.
    async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>, FetchError> {
        let addresses = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => {
                self.network.resolve(name).await.map_err(FetchError::UnknownName)?
            }
            None => return Err(FetchError::NoTarget),
        };
        match addresses.iter().all(|address| source::may_reach(*address, &self.rules)) {
            true => Ok(addresses),
            false => Err(FetchError::NotPublic),
        }
    }

    fn target(&self, from: &Url, response: &Response<Incoming>) -> Result<Url, FetchError> {
        let location = response.headers().get(header::LOCATION);
        let target = location.and_then(|location| from.join(location.to_str().ok()?).ok());
        let target = target.ok_or(FetchError::NoTarget)?;
        if from.scheme() == "https" && target.scheme() == "http" {
            return Err(FetchError::Downgrade);
        }
        source::check(&target, &self.rules).map_err(FetchError::Redirect)?;
        Ok(target)
    }

    async fn read(&self, mut answer: Answer) -> Result<Vec<u8>, FetchError> {
        let limit = self.limits.bytes;
        let headers = answer.response.headers();
        let is_plain = |value: &header::HeaderValue| value.as_bytes() == b"identity";
        if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
            return Err(FetchError::Encoded);
        }
        let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if told.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > limit) {
            return Err(FetchError::TooLarge { limit });
        }
        let mut bytes = Vec::new();
        while let Some(frame) = answer.response.body_mut().frame().await {
            let frame = frame.map_err(explain)?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(FetchError::TooLarge { limit });
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    }
}
