//! Which models are fetched for whom: each once, a few at a time, the others in the order in which they were asked for.

use crate::cancel::Cancel;
use host_ports::{Artefact, FetchError, FetchNews, FetchProgress};

/// More would share the same line, and each takes a thread.
const MOST_AT_ONCE: usize = 2;

const WAITS: &str = "waits for other models";
const BEGINS: &str = "asks the hub";

pub type Told = Box<dyn Fn(FetchNews) + Send + Sync>;

#[derive(Default)]
pub struct Jobs {
    jobs: Vec<Job>,
    /// Given to jobs and to those who wait for them.
    last_number: u64,
    workers: usize,
}

struct Job {
    number: u64,
    /// Optional only as long as all who wait can do without.
    artefact: Artefact,
    cancel: Cancel,
    is_begun: bool,
    progress: FetchProgress,
    waiting: Vec<(u64, Told)>,
}

/// Who waits for what.
#[derive(Clone, Copy)]
pub struct Seat {
    job: u64,
    waiter: u64,
}

/// What a worker is to fetch.
pub struct Order {
    pub number: u64,
    pub artefact: Artefact,
    pub cancel: Cancel,
}

impl Jobs {
    pub fn join(&mut self, artefact: &Artefact, told: Told) -> Seat {
        let waiter = self.number();
        let same = self.jobs.iter_mut().find(|job| {
            // One that was given up may still be ending.
            job.artefact.is_same(artefact) && !job.waiting.is_empty()
        });
        if let Some(job) = same {
            told(FetchNews::Progress(job.progress.clone()));
            job.artefact.is_optional &= artefact.is_optional;
            job.waiting.push((waiter, told));
            return Seat { job: job.number, waiter };
        }
        let number = self.number();
        let model = artefact.model.clone();
        let progress =
            FetchProgress { model, what: WAITS.to_owned(), bytes_done: 0, bytes_total: 0 };
        told(FetchNews::Progress(progress.clone()));
        self.jobs.push(Job {
            number,
            artefact: artefact.clone(),
            cancel: Cancel::default(),
            is_begun: false,
            progress,
            waiting: vec![(waiter, told)],
        });
        Seat { job: number, waiter }
    }

    /// What nobody waits for any more is given up.
    pub fn leave(&mut self, seat: Seat) {
        let Some(place) = self.jobs.iter().position(|job| job.number == seat.job) else { return };
        let job = &mut self.jobs[place];
        job.waiting.retain(|(waiter, _)| *waiter != seat.waiter);
        if job.waiting.is_empty() {
            job.cancel.cancel();
            if !job.is_begun {
                self.jobs.remove(place);
            }
        }
    }

    /// Whether another worker is needed; it counts from now on.
    pub fn hire(&mut self) -> bool {
        let is_needed = self.workers < MOST_AT_ONCE && self.jobs.iter().any(|job| !job.is_begun);
        self.workers += usize::from(is_needed);
        is_needed
    }

    /// The next one for a worker; none lets it go.
    pub fn begin(&mut self) -> Option<Order> {
        let Some(job) = self.jobs.iter_mut().find(|job| !job.is_begun) else {
            self.workers -= 1;
            return None;
        };
        job.is_begun = true;
        let (number, artefact) = (job.number, job.artefact.clone());
        let cancel = job.cancel.clone();
        self.tell(number, BEGINS.to_owned(), None);
        Some(Order { number, artefact, cancel })
    }

    /// `bytes` are those that are there and those that there will be; none leaves what was told last.
    pub fn tell(&mut self, number: u64, what: String, bytes: Option<(u64, u64)>) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.number == number) else { return };
        job.progress.what = what;
        if let Some((done, total)) = bytes {
            (job.progress.bytes_done, job.progress.bytes_total) = (done, total);
        }
        job.waiting.iter().for_each(|(_, told)| told(FetchNews::Progress(job.progress.clone())));
    }

    /// What failed while it could be done without is begun once more if one who needs it has joined.
    pub fn end(&mut self, order: &Order, result: &Result<(), FetchError>) {
        let may_pass = result.as_ref().is_err_and(|error| error.may_pass);
        let Some(job) = self.jobs.iter_mut().find(|job| job.number == order.number) else { return };
        if may_pass && order.artefact.is_optional && !job.artefact.is_optional {
            job.is_begun = false;
            return;
        }
        for job in self.jobs.extract_if(.., |job| job.number == order.number) {
            job.waiting.iter().for_each(|(_, told)| told(FetchNews::Ended(result.clone())));
        }
    }

    /// No worker could be had: all that nobody has begun ends with an error.
    pub fn refuse(&mut self, error: &FetchError) {
        self.workers -= 1;
        for job in self.jobs.extract_if(.., |job| !job.is_begun) {
            job.waiting.iter().for_each(|(_, told)| told(FetchNews::Ended(Err(error.clone()))));
        }
    }

    /// Gives up everything.
    pub fn close(&mut self) {
        self.jobs.iter().for_each(|job| job.cancel.cancel());
        self.jobs.retain(|job| job.is_begun);
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
