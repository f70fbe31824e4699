//! What a URL of a request asks for: `rtsp://host:8554/{id}_out?key=…/trackID=0`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Without slashes at its ends.
    pub path: &'a str,
    pub query: &'a str,
}

/// What readers' paths end with.
const OUTPUT: &str = "_out";

impl<'a> Target<'a> {
    pub fn parse(url: &'a str) -> Self {
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = match (url.len() == after_scheme.len(), after_scheme.split_once('/')) {
            // Nothing but the way, as some clients send it.
            (true, _) => after_scheme,
            (false, Some((_, path))) => path,
            (false, None) => "",
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self { path: path.trim_matches('/'), query }
    }

    /// The stream whose output is at this path.
    pub fn output_of(&self) -> Option<&'a str> {
        self.path.strip_suffix(OUTPUT)
    }

    /// A stream key in the query.
    pub fn key(&self) -> Option<&'a str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == "key").map(|(_, value)| value.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_stream_and_key_whatever_else_it_has() {
        let read = |url| {
            let target = Target::parse(url);
            (target.path, target.key())
        };
        assert_eq!(read("rtsp://127.0.0.1:8554/str_1?key=stk_2"), ("str_1", Some("stk_2")));
        assert_eq!(read("rtsp://u:p@[::1]:8554/str_1/?a=b&key=stk_2/"), ("str_1", Some("stk_2")));
        assert_eq!(read("rtsp://host"), ("", None));
        assert_eq!(read("/str_1/trackID=0"), ("str_1/trackID=0", None));
        assert_eq!(read("*"), ("*", None));
        assert_eq!(Target::parse("rtsp://host/str_1_out").output_of(), Some("str_1"));
        assert_eq!(Target::parse("rtsp://host/str_1").output_of(), None);
    }
}
