//! The part of Python's pickles that a state dict of torch is written in. Nothing is executed: of the names a pickle can
//! call, those of tensors and dicts are known, and any other ends the reading.
//!
//! Values lie in lists and know each other by number, so that nesting costs no stack, and texts are short, so that
//! repeating them costs little memory.

use std::collections::HashMap;

/// Most values of a pickle; the largest models have some ten thousand, each kept for later use.
const MAX_VALUES: usize = 1 << 18;
/// Most tensors of dicts within the dict. One such dict may stand there many times, so that a small file could have a
/// great many; adapters have some hundred.
const MAX_NESTED: usize = 1 << 14;
/// Protocol 2 is what torch writes.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=3;
const MAX_AXES: usize = 8;
/// Longest text; the names of the largest models' parameters are a tenth of that.
const MAX_TEXT_BYTES: usize = 1024;

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Which member of the archive has its values.
    pub storage: String,
    pub kind: Kind,
    /// Values in the storage.
    pub count: u64,
    /// Its first value in the storage.
    pub offset: u64,
    pub shape: Vec<usize>,
    /// Values from one to the next along each axis.
    pub strides: Vec<usize>,
}

/// A type of numbers: its name in safetensors files, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub bytes: u64,
}

const KINDS: [(&str, &str, u64); 9] = [
    ("FloatStorage", "F32", 4),
    ("HalfStorage", "F16", 2),
    ("BFloat16Storage", "BF16", 2),
    ("DoubleStorage", "F64", 8),
    ("LongStorage", "I64", 8),
    ("IntStorage", "I32", 4),
    ("ShortStorage", "I16", 2),
    ("ByteStorage", "U8", 1),
    ("BoolStorage", "BOOL", 1),
];

#[derive(Clone, Copy, Debug)]
enum Value {
    Mark,
    /// None, true and false, which nothing here depends on.
    Other,
    Int(i64),
    Text(usize),
    Tuple(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    OrderedDict,
    RebuildTensor,
    Kind(Kind),
}

#[derive(Default)]
struct Machine<'p> {
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    texts: Vec<&'p str>,
    tuples: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    /// Text of the member, kind, count.
    storages: Vec<(usize, Kind, u64)>,
    tensors: Vec<Tensor>,
    values: usize,
}

type Reading<T> = Result<T, String>;

/// The tensors of a pickled state dict, by name.
pub fn state_dict(pickle: &[u8]) -> Reading<HashMap<String, Tensor>> {
    let mut machine = Machine::default();
    let mut rest = Bytes(pickle);
    loop {
        let at = pickle.len() - rest.0.len();
        let code = rest.byte()?;
        if code == b'.' {
            break;
        }
        machine.step(code, &mut rest).map_err(|why| format!("its pickle, at byte {at}, {why}"))?;
    }
    machine.finish()
}

/// What of the pickle is not read yet.
struct Bytes<'p>(&'p [u8]);

impl<'p> Bytes<'p> {
    fn take(&mut self, count: usize) -> Reading<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Reading<u8> {
        Ok(self.take(1)?[0])
    }

    /// A number of up to eight bytes.
    fn number(&mut self, count: usize) -> Reading<u64> {
        let bytes = self.take(count)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn text(&mut self, count: usize) -> Reading<&'p str> {
        std::str::from_utf8(self.take(count)?).map_err(|_| "has a text that is no text".into())
    }

    fn line(&mut self) -> Reading<&'p str> {
        let end = self.0.iter().position(|&byte| byte == b'\n').ok_or("ends too early")?;
        let line = self.text(end)?;
        self.byte()?;
        Ok(line)
    }
}

impl<'p> Machine<'p> {
    fn step(&mut self, code: u8, rest: &mut Bytes<'p>) -> Reading<()> {
        match code {
            0x80 => protocol(rest.byte()?),
            b'(' => self.push(Value::Mark),
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'K' | b'M' | b'J' | 0x8a => self.int(code, rest),
            b'X' => {
                let length = rest.number(4)? as usize;
                if length > MAX_TEXT_BYTES {
                    return Err(format!(
                        "has a text of {length} bytes, names have at most {MAX_TEXT_BYTES}"
                    ));
                }
                self.texts.push(rest.text(length)?);
                self.push(Value::Text(self.texts.len() - 1))
            }
            b'c' => {
                let value = global(rest.line()?, rest.line()?)?;
                self.push(value)
            }
            b'q' => self.keep(rest.number(1)? as u32),
            b'r' => self.keep(rest.number(4)? as u32),
            b'h' => self.recall(rest.number(1)? as u32),
            b'j' => self.recall(rest.number(4)? as u32),
            b')' | b't' | 0x85..=0x87 => self.tuple(code),
            b'}' => self.dict(),
            b's' | b'u' => self.set(code),
            b'Q' => self.storage(),
            b'R' => self.reduce(),
            // The state of a dict is its metadata.
            b'b' => self.pop().map(drop),
            _ => Err(format!("does what no state dict needs (opcode {code:#04x})")),
        }
    }

    fn push(&mut self, value: Value) -> Reading<()> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    /// Whatever takes memory is counted.
    fn count(&mut self) -> Reading<()> {
        self.values += 1;
        match self.values > MAX_VALUES {
            true => Err(format!("has more than {MAX_VALUES} values")),
            false => Ok(()),
        }
    }

    fn pop(&mut self) -> Reading<Value> {
        self.stack.pop().ok_or_else(|| "takes a value that is not there".into())
    }

    /// Everything above the topmost mark.
    fn pop_marked(&mut self) -> Reading<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let mark = mark.ok_or("takes values up to a mark that is not there")?;
        let values = self.stack.split_off(mark + 1);
        self.pop()?;
        Ok(values)
    }

    fn int(&mut self, code: u8, rest: &mut Bytes<'p>) -> Reading<()> {
        let value = match code {
            b'K' => rest.number(1)? as i64,
            b'M' => rest.number(2)? as i64,
            b'J' => i64::from(rest.number(4)? as u32 as i32),
            _ => match rest.byte()? {
                // The sign is in the last byte.
                count @ 1..=8 => {
                    let unused = 64 - 8 * u32::from(count);
                    ((rest.number(count.into())? << unused) as i64) >> unused
                }
                0 => 0,
                count => return Err(format!("has a number of {count} bytes")),
            },
        };
        self.push(Value::Int(value))
    }

    fn keep(&mut self, place: u32) -> Reading<()> {
        self.count()?;
        let value = *self.stack.last().ok_or("keeps a value that is not there")?;
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Reading<()> {
        let value = *self.memo.get(&place).ok_or("recalls a value that it did not keep")?;
        self.push(value)
    }

    fn tuple(&mut self, code: u8) -> Reading<()> {
        let values = match code {
            b')' => Vec::new(),
            b't' => self.pop_marked()?,
            _ => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count);
                self.stack.split_off(start.ok_or("takes values that are not there")?)
            }
        };
        self.tuples.push(values);
        self.push(Value::Tuple(self.tuples.len() - 1))
    }

    fn dict(&mut self) -> Reading<()> {
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    fn set(&mut self, code: u8) -> Reading<()> {
        let values = match code {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_marked()?,
        };
        let Some(&Value::Dict(dict)) = self.stack.last() else {
            return Err("sets an entry of what is no dict".into());
        };
        let (pairs, []) = values.as_chunks::<2>() else {
            return Err("sets an entry that has no value".into());
        };
        self.dicts[dict].extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    /// `("storage", kind, member, device, count)`
    fn storage(&mut self) -> Reading<()> {
        let values = self.popped_tuple()?;
        let [Value::Text(what), Value::Kind(kind), Value::Text(member), _, Value::Int(count)] =
            values[..]
        else {
            return Err("names a storage in an unknown way".into());
        };
        if self.texts[what] != "storage" {
            return Err(format!("names a {} where a storage is wanted", brief(self.texts[what])));
        }
        let count = u64::try_from(count).map_err(|_| "has a storage of less than nothing")?;
        self.storages.push((member, kind, count));
        self.push(Value::Storage(self.storages.len() - 1))
    }

    fn reduce(&mut self) -> Reading<()> {
        let arguments = self.popped_tuple()?;
        match self.pop()? {
            Value::OrderedDict if arguments.is_empty() => self.dict(),
            Value::RebuildTensor => {
                let tensor = self.tensor(&arguments)?;
                self.tensors.push(tensor);
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err("calls what is no function, or in an unknown way".into()),
        }
    }

    /// `(storage, offset, shape, strides, ...)`; the rest is for training.
    fn tensor(&self, arguments: &[Value]) -> Reading<Tensor> {
        let [Value::Storage(storage), Value::Int(offset), shape, strides, ..] = *arguments else {
            return Err("describes a tensor in an unknown way".into());
        };
        let (member, kind, count) = self.storages[storage];
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let offset = u64::try_from(offset).map_err(|_| "has a tensor before its storage")?;
        if shape.len() != strides.len() {
            return Err(format!("has a tensor of shape {shape:?} with strides {strides:?}"));
        }
        let storage = self.texts[member].to_owned();
        Ok(Tensor { storage, kind, count, offset, shape, strides })
    }

    fn sizes(&self, value: Value) -> Reading<Vec<usize>> {
        let Value::Tuple(tuple) = value else { return Err("has a shape that is none".into()) };
        let values = &self.tuples[tuple];
        let size = |value: &Value| match *value {
            Value::Int(size) => usize::try_from(size).ok(),
            _ => None,
        };
        let short = Some(values).filter(|values| values.len() <= MAX_AXES);
        short
            .and_then(|values| values.iter().map(size).collect())
            .ok_or_else(|| format!("has a shape that is not of up to {MAX_AXES} sizes"))
    }

    fn popped_tuple(&mut self) -> Reading<Vec<Value>> {
        match self.pop()? {
            // Large tuples are none of ours, and copying them again and again would take long.
            Value::Tuple(tuple) if self.tuples[tuple].len() <= MAX_AXES => {
                Ok(self.tuples[tuple].clone())
            }
            _ => Err("has something else where a short tuple is wanted".into()),
        }
    }

    fn finish(mut self) -> Reading<HashMap<String, Tensor>> {
        let Ok(Value::Dict(dict)) = self.pop() else {
            return Err("it holds no state dict".into());
        };
        let (mut tensors, mut nested) = (HashMap::new(), 0);
        for &(key, value) in &self.dicts[dict] {
            let Value::Dict(inner) = value else {
                self.take_entry("", (key, value), &mut tensors)?;
                continue;
            };
            // Adapters keep the state dicts of their parts in one: safetensors would join the names so.
            let Value::Text(name) = key else { return Err(no_tensor("?")) };
            let prefix = format!("{}.", self.texts[name]);
            nested += self.dicts[inner].len();
            if nested > MAX_NESTED {
                return Err(format!("it holds more than {MAX_NESTED} tensors in dicts of its own"));
            }
            for &entry in &self.dicts[inner] {
                self.take_entry(&prefix, entry, &mut tensors)?;
            }
        }
        Ok(tensors)
    }

    fn take_entry(
        &self,
        prefix: &str,
        entry: (Value, Value),
        tensors: &mut HashMap<String, Tensor>,
    ) -> Reading<()> {
        let (Value::Text(name), Value::Tensor(tensor)) = entry else {
            let name = if let Value::Text(name) = entry.0 { self.texts[name] } else { "?" };
            return Err(no_tensor(&format!("{prefix}{name}")));
        };
        tensors.insert(format!("{prefix}{}", self.texts[name]), self.tensors[tensor].clone());
        Ok(())
    }
}

fn no_tensor(name: &str) -> String {
    format!("its entry `{}` is no tensor", brief(name))
}

fn protocol(version: u8) -> Reading<()> {
    match PROTOCOLS.contains(&version) {
        true => Ok(()),
        false => Err(format!("is of protocol {version}, torch writes {}", PROTOCOLS.start())),
    }
}

/// The names a pickle may use.
fn global(module: &str, name: &str) -> Reading<Value> {
    let kind = KINDS.iter().find(|(class, ..)| module == "torch" && *class == name);
    match (module, name, kind) {
        (_, _, Some(&(_, name, bytes))) => Ok(Value::Kind(Kind { name, bytes })),
        ("collections", "OrderedDict", _) => Ok(Value::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2", _) => Ok(Value::RebuildTensor),
        _ => Err(format!(
            "wants to use `{}.{}`, which no file of weights needs; get the safetensors file, and do not open this one with torch",
            brief(module),
            brief(name)
        )),
    }
}

/// Texts of files are cut where messages name them.
fn brief(text: &str) -> String {
    const LONGEST: usize = 80;
    text.chars().take(LONGEST).collect()
}
