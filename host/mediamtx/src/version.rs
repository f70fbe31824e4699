//! Versions of MediaMTX, and what each can do.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

impl Version {
    /// The oldest that this crate was tried with.
    pub const OLDEST: Self = Self::new(1, 5, 1);

    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// `v1.20.1`, with or without the `v`; what a build adds behind a dash or plus is left out.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.splitn(3, '.').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self::new(next()?, next()?, next()?))
    }

    /// Asks `authHTTPAddress`; older ones ask `externalAuthenticationURL`, and nobody about their API.
    pub fn has_http_auth(self) -> bool {
        self >= Self::new(1, 6, 0)
    }

    /// Has `rtspTransports`; older ones call it `protocols`.
    pub fn has_rtsp_transports(self) -> bool {
        self >= Self::new(1, 11, 0)
    }

    /// Serves MoQ unless told not to.
    pub fn has_moq(self) -> bool {
        self >= Self::new(1, 19, 0)
    }

    /// Can hand a publisher on by WHIP.
    pub fn has_forward(self) -> bool {
        self >= Self::new(1, 20, 0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_releases_and_builds_write_them() {
        let wanted = Some(Version::new(1, 20, 1));
        for text in ["v1.20.1", "1.20.1\n", "v1.20.1-3-g1a2b3c", "v1.20.1+local"] {
            assert_eq!(Version::parse(text), wanted, "{text}");
        }
        for text in ["", "v", "1", "1.2", "one.2.3", "1.2.3.4", "v1.99999.0", "ffmpeg 5.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert!(Version::new(1, 20, 0) > Version::new(1, 5, 1));
    }
}
