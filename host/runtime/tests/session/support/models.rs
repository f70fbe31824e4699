//! A hub that fetches as far as a test says.

use super::patiently;
use host_ports::{Artefact, Fetch, FetchError, FetchNews, FetchProgress, ModelStore, Size};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

pub struct FakeModels {
    shared: Arc<Shared>,
    /// What `measure` answers.
    pub size: Mutex<Result<Size, FetchError>>,
}

struct Shared {
    log: watch::Sender<Vec<String>>,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    number: usize,
    model: String,
    told: Box<dyn Fn(FetchNews) + Send + Sync>,
}

struct FakeFetch {
    shared: Arc<Shared>,
    number: usize,
}

impl Default for FakeModels {
    fn default() -> Self {
        let shared = Shared { log: watch::channel(Vec::new()).0, waiting: Mutex::default() };
        Self { shared: Arc::new(shared), size: Mutex::new(Ok(Size::default())) }
    }
}

impl FakeModels {
    /// Tells all who wait for the model.
    pub fn tell(&self, model: &str, what: &str, bytes_done: u64, bytes_total: u64) {
        let (name, what) = (model.to_owned(), what.to_owned());
        let progress = FetchProgress { model: name, what, bytes_done, bytes_total };
        self.tell_all(model, &FetchNews::Progress(progress));
    }

    pub fn end(&self, model: &str, result: Result<(), FetchError>) {
        self.tell_all(model, &FetchNews::Ended(result));
    }

    pub fn log(&self) -> Vec<String> {
        self.shared.log.borrow().clone()
    }

    /// Waits until `count` entries are this one.
    pub async fn logged(&self, entry: &str, count: usize) {
        let mut log = self.shared.log.subscribe();
        let is_met = |log: &Vec<String>| log.iter().filter(|each| *each == entry).count() >= count;
        let met = patiently(entry, log.wait_for(is_met)).await;
        met.expect("the hub keeps the channel open");
    }

    fn tell_all(&self, model: &str, news: &FetchNews) {
        let waiting = self.shared.waiting.lock().unwrap();
        let of_model = waiting.iter().filter(|waiting| waiting.model == model);
        of_model.for_each(|waiting| (waiting.told)(news.clone()));
    }
}

impl ModelStore for FakeModels {
    fn fetch(
        &self,
        artefact: &Artefact,
        told: Box<dyn Fn(FetchNews) + Send + Sync>,
    ) -> Box<dyn Fetch> {
        let mut waiting = self.shared.waiting.lock().unwrap();
        let (number, model) = (self.log().len(), artefact.model.clone());
        self.shared.log.send_modify(|log| log.push(format!("fetch {model}")));
        waiting.push(Waiting { number, model, told });
        Box::new(FakeFetch { shared: self.shared.clone(), number })
    }

    fn measure(&self, _: &Artefact, _: Duration) -> Result<Size, FetchError> {
        self.size.lock().unwrap().clone()
    }

    fn hub(&self) -> String {
        "the hub".to_owned()
    }
}

impl Fetch for FakeFetch {}

impl Drop for FakeFetch {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock().unwrap();
        for gone in waiting.extract_if(.., |waiting| waiting.number == self.number) {
            self.shared.log.send_modify(|log| log.push(format!("leave {}", gone.model)));
        }
    }
}
