//! Answers HLS requests for a path: finds or starts its muxer, and waits where the client asked to.

use super::muxer::Muxer;
use super::playlist::{Awaited, INDEX, MEDIA, Numbers, Playlist};
use crate::feed::Feed;
use host_ports::{HlsError, HlsFile, HlsRequest, OfferError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a new muxer may take to its first segment, and a client wait for what it asked for: three times the length
/// that segments are said to have.
const PATIENCE: Duration = Duration::from_secs(6);

/// A path's muxer, if it has one.
#[derive(Default)]
pub(crate) struct Hls(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    muxer: Option<Arc<Muxer>>,
    numbers: Numbers,
}

impl Hls {
    /// What is needed to answer. Only a playlist is reason to start: other names are known from one.
    pub fn muxer(
        &self,
        request: &HlsRequest,
        listen: impl FnOnce() -> Result<Feed, OfferError>,
    ) -> Result<Arc<Muxer>, HlsError> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(muxer) = slot.muxer.take_if(|muxer| !muxer.is_over()) {
            muxer.touch();
            slot.muxer = Some(muxer.clone());
            return Ok(muxer);
        }
        if let Some(ended) = slot.muxer.take() {
            slot.numbers = ended.playlist.borrow().numbers();
        }
        if request.file != INDEX && request.file != MEDIA {
            return Err(HlsError::NoFile { file: request.file.clone() });
        }
        let muxer = Muxer::start(listen()?, slot.numbers);
        slot.muxer = Some(muxer.clone());
        Ok(muxer)
    }
}

pub(crate) async fn answer(muxer: Arc<Muxer>, request: HlsRequest) -> Result<HlsFile, HlsError> {
    let answer = match request.file.as_str() {
        INDEX => index(&muxer).await,
        MEDIA => media(&muxer, &request).await,
        name => file(&muxer, name).await,
    };
    muxer.touch();
    answer
}

async fn index(muxer: &Muxer) -> Result<HlsFile, HlsError> {
    let text = wait(muxer, Playlist::is_ready, Playlist::multivariant).await;
    text.map(HlsFile::Playlist).ok_or(HlsError::Offer(OfferError::NotReady))
}

async fn media(muxer: &Muxer, request: &HlsRequest) -> Result<HlsFile, HlsError> {
    let awaited = match (request.segment, request.part) {
        (Some(segment), part) => Some(Awaited { segment, part }),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(HlsError::Invalid { reason: "`_HLS_part` goes with `_HLS_msn`" });
        }
    };
    if awaited.is_some_and(|awaited| !muxer.playlist.borrow().may_wait_for(awaited)) {
        return Err(HlsError::Invalid { reason: "`_HLS_msn` names a segment too far ahead" });
    }
    let is_there = |playlist: &Playlist| {
        playlist.is_ready() && awaited.is_none_or(|awaited| playlist.has(awaited))
    };
    let text = wait(muxer, is_there, |playlist| Some(playlist.text())).await;
    let text = text.ok_or(HlsError::Offer(OfferError::NotReady))?;
    Ok(HlsFile::Playlist(text))
}

async fn file(muxer: &Muxer, name: &str) -> Result<HlsFile, HlsError> {
    let is_there = |playlist: &Playlist| !playlist.is_next(name);
    let bytes = wait(muxer, is_there, |playlist| playlist.find(name)).await;
    bytes.map(HlsFile::Media).ok_or_else(|| HlsError::NoFile { file: name.to_owned() })
}

/// Reads the playlist once it is as it should be; none if that does not come in time.
async fn wait<T>(
    muxer: &Muxer,
    is_there: impl Fn(&Playlist) -> bool,
    read: impl FnOnce(&Playlist) -> Option<T>,
) -> Option<T> {
    let mut playlist = muxer.playlist.clone();
    let ready = tokio::time::timeout(PATIENCE, playlist.wait_for(|playlist| is_there(playlist)));
    let playlist = ready.await.ok()?.ok()?;
    read(&playlist)
}
