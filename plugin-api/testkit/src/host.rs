//! A host for tests: remembers what it is told, and cancels when asked to.

use plugin_api::loader::{Callbacks, HostContext};
use plugin_api::{Environment, LogLevel};
use std::sync::Arc;

/// Whether the host wants loading given up.
pub(crate) struct TestHost {
    pub(crate) is_cancelling: bool,
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
}

pub(crate) fn context() -> HostContext {
    with(TestHost { is_cancelling: false })
}

pub(crate) fn cancelling_context() -> HostContext {
    with(TestHost { is_cancelling: true })
}

fn with(host: TestHost) -> HostContext {
    let folder =
        |name: &str| std::env::var_os(name).map(Into::into).unwrap_or_else(std::env::temp_dir);
    let environment = Environment {
        models_dir: folder("TESTKIT_MODELS_DIR"),
        engines_dir: folder("TESTKIT_ENGINES_DIR"),
        cache_dir: folder("TESTKIT_CACHE_DIR"),
        threads: 2,
    };
    HostContext::new(Arc::new(host), &environment)
}
