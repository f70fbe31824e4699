//! Loads a pipeline beside the running one, on a thread of its own, and has it take over between two frames.
//!
//! Before that it is fed with frames that the running one has worked on, as many as it takes until its output shows them:
//! its first calls, which are slow, and its first pictures, which are none, stay unseen.

use crate::inbox::LoadOrder;
use crate::pipe::{Canceller, Open, Pipe};
use crate::shared::Shared;
use host_ports::{Frame, FramePool, Mailbox, PipelineError, Progress};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{Span, debug};

/// Longest wait for a frame to warm a pipeline with; where none comes nobody sees its first calls either.
const FRAME_PATIENCE: Duration = Duration::from_millis(500);
/// A plugin that plans more is not fed for longer.
const MOST_WARMING_FRAMES: u32 = 64;

/// A pipeline that is loaded and warm.
pub struct Loaded {
    pub open: Open,
    pub ticket: Arc<Ticket>,
    /// Takes the pipeline that it stands in for: ending one may take a while, which frames must not wait for.
    pub old: SyncSender<Option<Open>>,
}

impl Loaded {
    /// It was given up; it ends where it was made.
    pub fn send_back(self) {
        drop(self.old.try_send(Some(self.open)));
    }
}

/// Whether a pipeline may still take over, decided once.
#[derive(Default)]
pub struct Ticket {
    decision: AtomicU8,
}

const TAKEN_OVER: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Ticket {
    /// The pipeline takes over. False if it was given up.
    pub fn take_over(&self) -> bool {
        self.decide(TAKEN_OVER)
    }

    fn give_up(&self) -> bool {
        self.decide(GIVEN_UP)
    }

    fn is_given_up(&self) -> bool {
        self.decision.load(Ordering::SeqCst) == GIVEN_UP
    }

    fn decide(&self, decision: u8) -> bool {
        let decided =
            self.decision.compare_exchange(0, decision, Ordering::SeqCst, Ordering::SeqCst);
        decided.map_or_else(|already| already == decision, |_| true)
    }
}

/// A session's loads beside its pipeline: one that counts, and earlier ones that are ending.
#[derive(Default)]
pub struct Beside {
    loads: Vec<Load>,
}

struct Load {
    ticket: Arc<Ticket>,
    canceller: Arc<Canceller>,
    thread: JoinHandle<()>,
}

impl Beside {
    /// Begins a load; an earlier one is given up.
    pub fn start(
        &mut self,
        name: &str,
        pipe: Pipe,
        order: LoadOrder,
        stream: Span,
    ) -> io::Result<()> {
        self.give_up();
        self.loads.retain(|load| !load.thread.is_finished());
        let (ticket, canceller) = (Arc::<Ticket>::default(), Arc::<Canceller>::default());
        let loader = Loader { pipe, order, ticket: ticket.clone(), canceller: canceller.clone() };
        let thread = std::thread::Builder::new().name(format!("load-{name}"));
        let thread = thread.spawn(move || loader.run(stream))?;
        self.loads.push(Load { ticket, canceller, thread });
        Ok(())
    }

    /// Ends the load. False if its pipeline has taken over already.
    pub fn give_up(&mut self) -> bool {
        let Some(load) = self.loads.last() else { return true };
        let is_given_up = load.ticket.give_up();
        if is_given_up {
            load.canceller.cancel();
        }
        is_given_up
    }

    pub fn is_over(&self) -> bool {
        self.loads.iter().all(|load| load.thread.is_finished())
    }

    /// Tells all again to end, as a call may have begun just after it was told so.
    pub fn cancel(&self) {
        self.loads.iter().for_each(|load| load.canceller.cancel());
    }
}

/// Body of a `load-<short id>` thread.
struct Loader {
    pipe: Pipe,
    order: LoadOrder,
    ticket: Arc<Ticket>,
    canceller: Arc<Canceller>,
}

impl Loader {
    fn run(self, stream: Span) {
        let _entered = stream.entered();
        // A panic here is a fault of this host's. It costs the load, not the stream.
        let loaded = catch_unwind(AssertUnwindSafe(|| self.load())).unwrap_or_else(|_| {
            Err(PipelineError::Failed { message: "the host failed at loading beside".to_owned() })
        });
        self.pipe.shared.health.set_loading(None);
        match loaded {
            Ok(open) => self.hand_over(open),
            Err(error) if self.ticket.is_given_up() => debug!(%error, "load given up"),
            Err(error) => self.pipe.report_load_error(&self.order, error),
        }
    }

    fn load(&self) -> Result<Open, PipelineError> {
        let mut open = self.pipe.make(&self.order)?;
        self.canceller.set(Some(open.pipeline.canceller()));
        // One that was given up before the canceller was set found nothing to cancel.
        if self.ticket.is_given_up() {
            return Err(PipelineError::Cancelled);
        }
        let Shared { chronicle, health, .. } = &self.pipe.shared;
        chronicle.loading_begins();
        let mut on_progress = |progress: Progress| {
            chronicle.loading(&progress);
            health.set_loading(Some(progress));
        };
        open.pipeline.load(self.order.params.values.reveal(), &mut on_progress)?;
        open.edition = self.order.params.edition;
        self.warm(&mut open)?;
        Ok(open)
    }

    fn warm(&self, open: &mut Open) -> Result<(), PipelineError> {
        if !self.pipe.shared.ingress.is_flowing() {
            return Ok(());
        }
        let samples = Arc::new(Mailbox::default());
        self.pipe.shared.samples.set(Some(samples.clone()));
        let warmed = self.feed(open, &samples);
        self.pipe.shared.samples.set(None);
        warmed
    }

    fn feed(&self, open: &mut Open, samples: &Mailbox<Frame>) -> Result<(), PipelineError> {
        for _ in 0..=self.order.latency_frames.min(MOST_WARMING_FRAMES) {
            let Some(sample) = samples.take_until(Instant::now() + FRAME_PATIENCE) else { break };
            let Some(frame) = copy_into(&*open.input, sample) else { break };
            match open.pipeline.process(frame) {
                Err(error) if error.needs_restart() || error == PipelineError::Cancelled => {
                    return Err(error);
                }
                // A frame that it cannot do is no reason not to use it.
                _ => {}
            }
        }
        Ok(())
    }

    fn hand_over(&self, open: Open) {
        let (old, replaced) = sync_channel(1);
        self.pipe.shared.inbox.change_over(Loaded { open, ticket: self.ticket.clone(), old });
        // Until it has taken over, or was given up; then it was dropped there.
        drop(replaced.recv());
    }
}

/// The picture in another pipeline's memory, roughly scaled: it is only for warming up.
fn copy_into(pool: &dyn FramePool, sample: Frame) -> Option<Frame> {
    let mut slot = pool.lease()?;
    let (from, to) = (sample.size(), slot.size());
    let source = sample.pixels();
    for (y, row) in slot.pixels_mut().chunks_exact_mut(to.stride()).enumerate() {
        let line = y * from.height as usize / to.height as usize * from.stride();
        for (x, pixel) in row.chunks_exact_mut(3).take(to.width as usize).enumerate() {
            let at = line + x * from.width as usize / to.width as usize * 3;
            pixel.copy_from_slice(&source[at..at + 3]);
        }
    }
    Some(Frame::new(sample.stamp, slot))
}
