//! `streamdiffusion-host doctor`: looks whether this machine can serve with these settings, and says what to do where it
//! cannot. It binds ports only to free them again, and makes nothing but missing folders of plugins and cache.

mod compute;
mod folders;
mod media;
mod mediamtx;
mod plugins;
mod ports;
mod tls;

use crate::Config;
use serde_json::{Value, json};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    area: &'static str,
    level: Level,
    text: String,
    /// What to do about it; empty where all is well.
    fix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    /// It serves, and something is missing.
    Warn,
    /// It does not serve.
    Fail,
}

/// Looks at everything. Blocks: new plugins are tried out in processes of their own.
pub fn examine(config: Config) -> Vec<Finding> {
    let mut findings = ports::check(&config);
    findings.extend(config.http.tls.as_ref().map(tls::check));
    findings.extend(media::check(&config.media));
    findings.extend(config.mediamtx.iter().map(mediamtx::check));
    findings.extend(compute::check(&config.paths.engines, config.visible_gpus.as_deref()));
    findings.extend(folders::check(&config.paths));
    findings.extend(plugins::check(config.plugins));
    findings
}

pub fn has_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Fail)
}

/// A line for each finding, and one below for its remedy.
pub fn to_text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|Finding { area, level, text, fix }| {
        let fix = if fix.is_empty() { String::new() } else { format!("      fix: {fix}\n") };
        format!("{:<5} {area}: {text}\n{fix}", level.word())
    });
    lines.collect()
}

pub fn to_json(findings: &[Finding]) -> Value {
    let objects = findings.iter().map(|Finding { area, level, text, fix }| {
        let fix = Some(fix).filter(|fix| !fix.is_empty());
        json!({ "area": area, "level": level.word(), "finding": text, "fix": fix })
    });
    objects.collect()
}

impl Finding {
    fn ok(area: &'static str, text: impl Into<String>) -> Self {
        Self { area, level: Level::Ok, text: text.into(), fix: String::new() }
    }

    fn warn(area: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { area, level: Level::Warn, text: text.into(), fix: fix.into() }
    }

    fn fail(area: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { area, level: Level::Fail, text: text.into(), fix: fix.into() }
    }
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn people_get_the_remedy_below_and_programs_beside() {
        let findings = [
            Finding::ok("ports", "port 1 is free"),
            Finding::warn("gpu", "none", "go without"),
            Finding::fail("disk", "full", "make room"),
        ];
        expect![[r#"
            ok    ports: port 1 is free
            warn  gpu: none
                  fix: go without
            fail  disk: full
                  fix: make room
        "#]]
        .assert_eq(&to_text(&findings));
        let json = to_json(&findings);
        assert_eq!((&json[0]["fix"], &json[2]["level"]), (&Value::Null, &json!("fail")));
        assert!(has_failed(&findings) && !has_failed(&findings[..2]));
    }
}
