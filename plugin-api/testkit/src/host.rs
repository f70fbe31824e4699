//! A host for tests: remembers what it is told, and cancels when asked to.

use plugin_api::loader::{Callbacks, HostContext, Said};
use plugin_api::{Environment, LogLevel, MAX_NOTICE_TEXT, MAX_NOTICE_TOPIC, MAX_NOTICES};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct TestHost {
    /// Whether the host wants loading given up.
    is_cancelling: bool,
    notices: Arc<Notices>,
}

/// What streams told their users.
#[derive(Default)]
pub(crate) struct Notices {
    standing: Mutex<HashSet<(u64, String)>>,
    faults: Mutex<Vec<String>>,
}

impl Notices {
    /// Whether users see it as it was meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        match lock(&self.faults).first() {
            None => Ok(()),
            Some(fault) => Err(fault.clone()),
        }
    }

    fn take(&self, said: Said<'_>) {
        let Said { by, topic, text, .. } = said;
        println!("notice of `{topic}`: {text}");
        let mut standing = lock(&self.standing);
        match text.is_empty() {
            true => standing.remove(&(by, topic.to_owned())),
            false => standing.insert((by, topic.to_owned())),
        };
        let topics = standing.iter().filter(|(other, _)| *other == by).count();
        let fault = if topic.len() > MAX_NOTICE_TOPIC {
            format!("the topic `{topic}` has more than {MAX_NOTICE_TOPIC} bytes")
        } else if text.len() > MAX_NOTICE_TEXT {
            format!("the notice of `{topic}` has more than {MAX_NOTICE_TEXT} bytes")
        } else if text.contains(char::is_control) || (text.trim() != text) {
            format!("the notice of `{topic}` is no line of text: {text:?}")
        } else if topics > MAX_NOTICES {
            format!("there are more than {MAX_NOTICES} notices at a time, the last of `{topic}`")
        } else {
            return;
        };
        lock(&self.faults).push(fault);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callbacks for TestHost {
    fn log(&self, level: LogLevel, text: &str) {
        println!("{level:?}: {text}");
    }

    fn progress(&self, fraction: f32, what: &str) {
        println!("{:.0} %: {what}", fraction * 100.0);
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelling
    }

    fn metric(&self, name: &str, value: f64) {
        println!("{name} = {value}");
    }

    fn notice(&self, said: Said<'_>) {
        self.notices.take(said);
    }
}

/// For plans, and to load.
pub(crate) fn context() -> HostContext {
    HostContext::new(host(false, Arc::default()), &environment())
}

pub(crate) fn cancelling_context() -> HostContext {
    HostContext::new(host(true, Arc::default()), &environment())
}

/// For a stream, which may tell its user something.
pub(crate) fn stream_context(notices: &Arc<Notices>) -> HostContext {
    HostContext::of_stream(host(false, notices.clone()), &environment(), None)
}

fn host(is_cancelling: bool, notices: Arc<Notices>) -> Arc<TestHost> {
    Arc::new(TestHost { is_cancelling, notices })
}

fn environment() -> Environment {
    let folder =
        |name: &str| std::env::var_os(name).map(Into::into).unwrap_or_else(std::env::temp_dir);
    Environment {
        models_dir: folder("TESTKIT_MODELS_DIR"),
        engines_dir: folder("TESTKIT_ENGINES_DIR"),
        cache_dir: folder("TESTKIT_CACHE_DIR"),
        threads: 2,
    }
}
