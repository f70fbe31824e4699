//! What plugins tell the users of streams: kept in the worker as long as it holds, passed on whole whenever it changed, and
//! taken by the host as what it is, somebody's words.

use crate::message::Notice;
use crate::processors::Processors;
use plugin_api::loader::Said;
use plugin_api::{MAX_NOTICE_TEXT, MAX_NOTICE_TOPIC, MAX_NOTICES};

/// Of one stream's pipeline and all that it opened.
const MOST: usize = 32;
/// Longer names are not passed on; in bytes.
const LONGEST_PART: usize = 256;

/// One stream's, in the worker.
#[derive(Default)]
pub(crate) struct Notices {
    standing: Vec<Standing>,
    is_news: bool,
}

struct Standing {
    by: u64,
    topic: String,
    notice: Notice,
}

impl Notices {
    pub(crate) fn say(&mut self, said: Said<'_>) {
        let Said { by, part, topic, text } = said;
        let (topic, text) = (clean(topic, MAX_NOTICE_TOPIC), clean(text, MAX_NOTICE_TEXT));
        let is_same = |one: &Standing| one.by == by && one.topic == topic;
        match (self.standing.iter().position(is_same), text.is_empty()) {
            (Some(place), true) => drop(self.standing.remove(place)),
            (Some(place), false) if self.standing[place].notice.text != text => {
                self.standing[place].notice.text = text;
            }
            (None, false) if self.has_room(by) => {
                let part = part.map(|part| clean(part, LONGEST_PART));
                self.standing.push(Standing { by, topic, notice: Notice { part, text } });
            }
            _ => return,
        }
        self.is_news = true;
    }

    fn has_room(&self, by: u64) -> bool {
        let own = self.standing.iter().filter(|one| one.by == by).count();
        own < MAX_NOTICES && self.standing.len() < MOST
    }

    /// Nothing of this one holds any more.
    pub(crate) fn forget(&mut self, by: u64) {
        let before = self.standing.len();
        self.standing.retain(|one| one.by != by);
        self.is_news |= self.standing.len() != before;
    }

    /// All that hold now, if they are others than when this was asked last.
    pub(crate) fn news(&mut self) -> Option<Vec<Notice>> {
        let is_news = std::mem::take(&mut self.is_news);
        is_news.then(|| self.standing.iter().map(|one| one.notice.clone()).collect())
    }
}

/// What a worker says, as users may see it: bounded and without anything but text, each thing once, in the name of one that
/// the stream's params name or else of the `plugin` whose pipeline it is.
pub(crate) fn told(
    said: Vec<Notice>,
    processors: &Processors,
    plugin: &str,
) -> Vec<host_ports::Notice> {
    let mut told = Vec::new();
    for Notice { part, text } in said.into_iter().take(MOST) {
        let is_named = |part: &String| processors.offered.iter().any(|one| one.name == *part);
        let part = part.filter(is_named).unwrap_or_else(|| plugin.to_owned());
        let notice = host_ports::Notice { part, text: clean(&text, MAX_NOTICE_TEXT) };
        if !notice.text.is_empty() && !told.contains(&notice) {
            told.push(notice);
        }
    }
    told
}

/// One line of what can be seen, of at most so many bytes.
fn clean(text: &str, limit: usize) -> String {
    let text: String = text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect();
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(limit));
    line
}

/// What ends lines, turns their direction or shows nothing.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{LibraryFile, Offered};
    use std::collections::BTreeMap;

    fn said<'a>(by: u64, topic: &'a str, text: &'a str) -> Said<'a> {
        Said { by, part: (by > 1).then_some("tint"), topic, text }
    }

    fn texts(news: Option<Vec<Notice>>) -> Option<Vec<String>> {
        news.map(|notices| notices.into_iter().map(|notice| notice.text).collect())
    }

    #[test]
    fn a_notice_stands_until_it_is_taken_back_or_its_speaker_is_gone() {
        let mut notices = Notices::default();
        assert_eq!(texts(notices.news()), None);
        for (by, topic, text) in [(1, "face", "none"), (2, "face", "two"), (2, "size", "odd")] {
            notices.say(said(by, topic, text));
        }
        assert_eq!(texts(notices.news()).unwrap(), ["none", "two", "odd"]);
        notices.say(said(1, "face", "none"));
        notices.say(said(1, "other", ""));
        notices.forget(3);
        assert_eq!(texts(notices.news()), None, "nothing has changed");
        notices.say(said(1, "face", "still none"));
        notices.forget(2);
        assert_eq!(texts(notices.news()).unwrap(), ["still none"]);
        notices.say(said(1, "face", " \n"));
        assert_eq!(texts(notices.news()).unwrap(), [""; 0]);
    }

    #[test]
    fn however_much_is_said_a_packet_holds_it() {
        let mut notices = Notices::default();
        let text = "\u{e9}".repeat(5000);
        for by in 1..10 {
            for topic in 0..100 {
                notices.say(said(by, &topic.to_string(), &text));
            }
        }
        let all = notices.news().unwrap();
        assert_eq!(all.len(), MOST);
        assert!(all.iter().all(|notice| notice.text.len() == MAX_NOTICE_TEXT));
        assert_eq!(all.iter().filter(|notice| notice.part.is_none()).count(), MAX_NOTICES);
    }

    #[test]
    fn what_a_worker_says_is_text_of_somebody_known() {
        let library = LibraryFile { path: "p".into(), manifest_hash: "h".into() };
        let tint = Offered { name: "tint".into(), plugin: "tints".into(), library };
        let mut processors = Processors::default();
        processors.name(vec![tint], vec![], BTreeMap::new());
        let notice = |part: Option<&str>, text: &str| Notice {
            part: part.map(Into::into),
            text: text.into(),
        };
        let said = vec![
            notice(Some("tint"), "no\u{1b}[31m face\r\n\u{202e}here\0"),
            notice(Some("tint"), "no [31m face here"),
            notice(Some("safety_checker"), "all is well"),
            notice(None, "\u{feff}\u{200b}\t"),
            notice(None, &"x".repeat(9999)),
        ];
        let told = told(said, &processors, "sd15");
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        let long = format!("sd15: {}", "x".repeat(MAX_NOTICE_TEXT));
        assert_eq!(told, ["tint: no [31m face here", "sd15: all is well", &long]);
    }
}
