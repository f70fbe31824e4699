//! Pictures that are there when a test says so.

use super::patiently;
use host_ports::{Picture, PictureError, PictureFetch, PictureStore};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{oneshot, watch};

type Outcome = Result<Picture, PictureError>;

#[derive(Default)]
pub struct FakePictures {
    log: Arc<watch::Sender<Vec<String>>>,
    asked: Mutex<Vec<(String, oneshot::Sender<Outcome>)>>,
    /// No source is taken.
    pub is_strict: AtomicBool,
}

impl FakePictures {
    /// The newest fetch of a source is done.
    pub async fn deliver(&self, source: &str, path: &str) {
        self.end(source, Ok(Picture::new(path, Arc::new(())))).await;
    }

    pub async fn refuse(&self, source: &str, message: &str) {
        self.end(source, Err(PictureError { message: message.to_owned() })).await;
    }

    /// What was asked for and given up, from the beginning on.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    pub async fn logged(&self, entry: &str) {
        let mut log = self.log.subscribe();
        let met = log.wait_for(|log| log.iter().any(|each| each == entry));
        drop(patiently(entry, met).await.expect("the album keeps the channel open"));
    }

    async fn end(&self, source: &str, outcome: Outcome) {
        let fetch = patiently(source, async {
            loop {
                if let Some(fetch) = self.take(source) {
                    return fetch;
                }
                tokio::task::yield_now().await;
            }
        });
        assert!(fetch.await.send(outcome).is_ok(), "the fetch of {source} was given up");
    }

    fn take(&self, source: &str) -> Option<oneshot::Sender<Outcome>> {
        let mut asked = self.asked.lock().unwrap();
        let at = asked.iter().rposition(|(other, _)| other == source)?;
        Some(asked.remove(at).1)
    }
}

/// Tells when a fetch is dropped before its end.
struct UnderWay {
    source: Arc<str>,
    log: Arc<watch::Sender<Vec<String>>>,
    has_ended: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.has_ended {
            self.log.send_modify(|log| log.push(format!("give up {}", self.source)));
        }
    }
}

impl PictureStore for FakePictures {
    fn check(&self, source: &str) -> Result<(), PictureError> {
        match source == "bad" || self.is_strict.load(Ordering::SeqCst) {
            true => Err(PictureError { message: "must be better".to_owned() }),
            false => Ok(()),
        }
    }

    fn fetch(&self, source: Arc<str>, recall: bool) -> PictureFetch {
        let what = if recall { "recall" } else { "fetch" };
        self.log.send_modify(|log| log.push(format!("{what} {source}")));
        let (end, ended) = oneshot::channel();
        self.asked.lock().unwrap().push((source.to_string(), end));
        let under_way = UnderWay { source, log: self.log.clone(), has_ended: false };
        Box::pin(async move {
            let mut under_way = under_way;
            let outcome = ended.await.expect("the album keeps what was asked");
            under_way.has_ended = true;
            outcome
        })
    }
}
