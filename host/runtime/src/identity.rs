//! The names of a new stream: its ids, drawn so that none can be guessed from another, its name, its time of birth.

use crate::ChangeError;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

const LONGEST_NAME: usize = 100;

/// Who a stream is, for good.
pub struct Identity {
    pub id: String,
    pub stream_key: String,
    pub playback_id: String,
    pub name: String,
    /// RFC 3339, UTC.
    pub created_at: String,
}

impl Identity {
    pub fn draw(name: Option<String>) -> Result<Self, ChangeError> {
        let id = prefixed("str_");
        let name = match name {
            Some(name) => checked(name)?,
            None => format!("stream-{}", short(&id)),
        };
        Ok(Self {
            stream_key: prefixed("stk_"),
            playback_id: prefixed("play_"),
            created_at: now(),
            id,
            name,
        })
    }
}

/// Eight characters that tell a stream from its neighbours, where there is no room for more.
pub fn short(id: &str) -> &str {
    let start = id.find('_').map_or(0, |at| at + 1);
    id.get(start..start + 8).unwrap_or(id)
}

fn prefixed(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

fn checked(name: String) -> Result<String, ChangeError> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > LONGEST_NAME {
        let reason = format!("`name` must have 1 to {LONGEST_NAME} characters, got {length}");
        return Err(ChangeError::InvalidName { reason });
    }
    if name.chars().any(char::is_control) {
        let reason = "`name` must not hold control characters such as line breaks".to_owned();
        return Err(ChangeError::InvalidName { reason });
    }
    Ok(name)
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let in_milliseconds = now.replace_nanosecond(now.nanosecond() / 1_000_000 * 1_000_000);
    in_milliseconds.unwrap_or(now).format(&Rfc3339).expect("a year of four digits has a format")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_in_urls_and_all_different() {
        let (one, two) = (Identity::draw(None).unwrap(), Identity::draw(None).unwrap());
        let ids = [one.id, one.stream_key, one.playback_id, two.id, two.stream_key];
        let prefixes = ["str_", "stk_", "play_", "str_", "stk_"];
        for (id, prefix) in ids.iter().zip(prefixes) {
            let rest = id.strip_prefix(prefix).unwrap();
            assert!(rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(ids.iter().filter(|other| other.ends_with(rest)).count(), 1);
        }
    }

    #[test]
    fn names_have_1_to_100_characters_on_one_line() {
        let draw = |name: &str| Identity::draw(Some(name.to_owned())).map(|identity| identity.name);
        assert_eq!(draw(&"ü".repeat(100)).unwrap(), "ü".repeat(100));
        for name in ["", "  ", "a\nb", &"x".repeat(101)] {
            assert!(matches!(draw(name), Err(ChangeError::InvalidName { .. })), "{name:?}");
        }
        assert!(Identity::draw(None).unwrap().name.starts_with("stream-"));
    }

    #[test]
    fn times_of_birth_are_rfc_3339_in_utc() {
        let created_at = Identity::draw(None).unwrap().created_at;
        assert!(created_at.ends_with('Z') && created_at.contains('T'), "{created_at}");
    }
}
