//! AMF0, the notation of RTMP's commands: values that are read from what a peer sends, however it is made, and written.

/// Commands nest three levels at most; deeper ones would only cost stack.
const MAX_DEPTH: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Boolean(bool),
    Text(String),
    /// Also the kind of array that has names.
    Object(Vec<(String, Value)>),
    List(Vec<Value>),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AmfError {
    #[error("a value ends before it is complete")]
    Truncated,
    #[error("values of type {0} are not known here")]
    Marker(u8),
    #[error("values nest more than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("a text is not UTF-8")]
    NotText,
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A field of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(0);
                out.extend(number.to_be_bytes());
            }
            Self::Boolean(value) => out.extend([1, u8::from(*value)]),
            Self::Text(text) if text.len() > usize::from(u16::MAX) => {
                out.push(12);
                out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
                out.extend(text.as_bytes());
            }
            Self::Text(text) => {
                out.push(2);
                write_name(text, out);
            }
            Self::Object(fields) => {
                out.push(3);
                for (name, value) in fields {
                    write_name(name, out);
                    value.write(out);
                }
                out.extend([0, 0, 9]);
            }
            Self::List(values) => {
                out.push(10);
                out.extend(u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
                values.iter().for_each(|value| value.write(out));
            }
            Self::Null => out.push(5),
        }
    }
}

/// Names are ours, and short.
fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(&name.as_bytes()[..name.len().min(usize::from(u16::MAX))]);
}

/// All values one after the other.
pub(crate) fn read_all(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    let (mut input, mut values) = (Input(bytes), Vec::new());
    while !input.0.is_empty() {
        values.push(input.value(0)?);
    }
    Ok(values)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], AmfError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(AmfError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        self.take(N)?.try_into().map_err(|_| AmfError::Truncated)
    }

    fn text(&mut self, count: usize) -> Result<String, AmfError> {
        String::from_utf8(self.take(count)?.to_vec()).map_err(|_| AmfError::NotText)
    }

    fn name(&mut self) -> Result<String, AmfError> {
        let count = u16::from_be_bytes(self.array()?);
        self.text(count.into())
    }

    fn length(&mut self) -> Result<usize, AmfError> {
        usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| AmfError::Truncated)
    }

    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        if depth == MAX_DEPTH {
            return Err(AmfError::TooDeep);
        }
        let [marker] = self.array()?;
        Ok(match marker {
            0 => Value::Number(f64::from_be_bytes(self.array()?)),
            1 => Value::Boolean(self.array::<1>()? != [0]),
            2 => Value::Text(self.name()?),
            3 => self.object(depth)?,
            5 | 6 => Value::Null,
            8 => {
                // How many there are is only announced; the end is marked as an object's is.
                self.take(4)?;
                self.object(depth)?
            }
            10 => {
                let (mut left, mut values) = (self.length()?, Vec::new());
                while left > 0 {
                    values.push(self.value(depth + 1)?);
                    left -= 1;
                }
                Value::List(values)
            }
            11 => {
                let milliseconds = f64::from_be_bytes(self.array()?);
                self.take(2)?;
                Value::Number(milliseconds)
            }
            12 => {
                let count = self.length()?;
                Value::Text(self.text(count)?)
            }
            other => return Err(AmfError::Marker(other)),
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, AmfError> {
        let mut fields = Vec::new();
        loop {
            let name = self.name()?;
            if name.is_empty() && self.0.first() == Some(&9) {
                self.take(1)?;
                return Ok(Value::Object(fields));
            }
            fields.push((name, self.value(depth + 1)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let values = [
            Value::text("connect"),
            Value::Number(-1.5),
            Value::object([
                ("app", Value::text("live")),
                ("list", Value::List(vec![Value::Boolean(true), Value::Null])),
                ("none", Value::object([])),
            ]),
            Value::Text("x".repeat(70_000)),
        ];
        let mut bytes = Vec::new();
        values.iter().for_each(|value| value.write(&mut bytes));
        assert_eq!(read_all(&bytes).as_deref(), Ok(&values[..]));
        for end in 1..bytes.len().min(100) {
            if let Ok(read) = read_all(&bytes[..end]) {
                assert_eq!(read, values[..read.len()], "{end}");
            }
        }
    }

    #[test]
    fn what_nests_without_end_or_promises_too_much_is_refused() {
        assert_eq!(read_all(&[3, 0, 1, b'a'].repeat(20_000)), Err(AmfError::TooDeep));
        assert_eq!(read_all(&[10, 0, 0, 0, 1].repeat(20_000)), Err(AmfError::TooDeep));
        assert_eq!(read_all(&[10, 255, 255, 255, 255, 5]), Err(AmfError::Truncated));
        assert_eq!(read_all(&[12, 255, 255, 255, 255, 5]), Err(AmfError::Truncated));
        assert_eq!(read_all(&[17]), Err(AmfError::Marker(17)));
    }
}
