//! The plugins in their folders, each tried out as the server would.

use super::Finding;
use host_plugins::PluginCatalog;
use host_ports::{PipelineCatalog, PluginReport, PluginState};

const AREA: &str = "plugins";

pub fn check(config: host_plugins::Config) -> Vec<Finding> {
    let folders: Vec<_> = config.folders.iter().map(|path| path.display().to_string()).collect();
    let catalog = match PluginCatalog::new(config) {
        Ok(catalog) => catalog,
        Err(error) => {
            let fix = "see to `plugins.folders` and `paths.cache`";
            return vec![Finding::fail(AREA, format!("cannot be looked for: {error}"), fix)];
        }
    };
    let mut findings: Vec<_> = catalog.plugins().into_iter().map(judge).collect();
    if catalog.claims().is_empty() {
        let text = format!("no plugin offers a pipeline; looked in {}", folders.join(", "));
        findings.push(Finding::fail(AREA, text, "drop plugins there, or set `plugins.folders`"));
    }
    findings
}

fn judge(report: PluginReport) -> Finding {
    let PluginReport { file, version, pipelines, state, .. } = report;
    match state {
        PluginState::Accepted => {
            let version = version.unwrap_or_default();
            let offer = format!("{file} {version} offers {}", pipelines.join(", "));
            Finding::ok(AREA, offer)
        }
        PluginState::Refused { reason } => {
            let fix = "replace the file, or remove it from its folder";
            Finding::warn(AREA, format!("{file} is refused: {reason}"), fix)
        }
    }
}
