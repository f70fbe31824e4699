//! Clients that create, change and delete streams at random while the server is killed again and again, and a model of
//! what it answered: what it has after each new start must be just that.
//!
//! Each client works on its own streams, one request at a time, so that at a kill at most one of its requests has no
//! answer; that one may have been done or not.

use crate::host::Host;
use crate::http::try_request;
use crate::libraries::library;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const CLIENTS: usize = 4;
/// Of one client: as many as make starting again no matter of loading.
const MOST_STREAMS: usize = 3;
/// Answers from one kill to the next, at most.
const MOST_ANSWERS: u64 = 60;
/// What a stream is in answers and keeps for good, or until it is changed.
const KEPT: &[&str] = &[
    "id",
    "name",
    "pipeline",
    "params",
    "revision",
    "stream_key",
    "created_at",
    "whip_url",
    "output_playback_id",
    "output_stream_url",
];

/// What came of it.
#[derive(Debug, Default)]
pub struct Counts {
    pub rounds: u64,
    pub answers: u64,
    pub kills_while_starting: u64,
    /// Requests that the kill left without an answer, and those of them that had been done all the same.
    pub unanswered: u64,
    pub done_all_the_same: u64,
    /// Streams, or changes of them, that were answered and are gone.
    pub lost: u64,
    /// Streams that nobody asked for, or twice.
    pub doubled: u64,
    /// Streams at the end.
    pub streams: usize,
}

/// Runs the rounds; what is wrong is printed as it is found.
pub fn run(rounds: u64, seed: u64) -> Counts {
    let settings = [
        ("SDH_STREAMS__MAX_STREAMS", (CLIENTS * MOST_STREAMS).to_string()),
        // Answers are the same whichever port was free.
        ("SDH_HTTP__PUBLIC_URL", "http://crash.test".to_owned()),
    ];
    let mut random = Random(seed);
    let mut host = Host::start_with(&[library("passthrough")], &settings);
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|index| Client::new(index, Random(random.next()))).collect();
    let mut counts = Counts { rounds, ..Counts::default() };
    for _ in 0..rounds {
        counts.answers +=
            work_until_killed(&mut host, &mut clients, 1 + random.below(MOST_ANSWERS));
        if random.below(4) == 0 {
            host.start_and_kill(random.below(8) as usize);
            counts.kills_while_starting += 1;
        }
        host.start_again();
        compare(&host, &mut clients, &mut counts);
    }
    counts.streams = clients.iter().map(|client| client.streams.len()).sum();
    counts
}

/// Lets the clients work and kills the server after so many answers; gives the number of all answers.
fn work_until_killed(host: &mut Host, clients: &mut [Client], answers: u64) -> u64 {
    let url = host.url("/v1/streams");
    let (answered, all_answers) = channel();
    thread::scope(|scope| {
        for client in clients {
            let (url, answered) = (&url, answered.clone());
            scope.spawn(move || client.work(url, &answered));
        }
        drop(answered);
        kill_after(host, &all_answers, answers) + all_answers.iter().count() as u64
    })
}

fn kill_after(host: &mut Host, all_answers: &Receiver<()>, answers: u64) -> u64 {
    let seen = all_answers.iter().take(answers as usize).count() as u64;
    host.kill();
    seen
}

struct Client {
    index: usize,
    random: Random,
    created: u64,
    /// As last answered, by id.
    streams: BTreeMap<String, Value>,
    unanswered: Option<Operation>,
}

#[derive(Clone, Debug)]
enum Operation {
    Create { name: String, params: Value },
    Change { id: String, params: Value },
    Delete { id: String },
}

impl Client {
    fn new(index: usize, random: Random) -> Self {
        Self { index, random, created: 0, streams: BTreeMap::new(), unanswered: None }
    }

    /// One request after the other, until there is no answer.
    fn work(&mut self, url: &str, answered: &Sender<()>) {
        loop {
            let operation = self.choose();
            let answer = match &operation {
                Operation::Create { name, params } => {
                    let body = json!({ "name": name, "pipeline": "passthrough", "params": params });
                    send("POST", url, &body)
                }
                Operation::Change { id, params } => {
                    send("PATCH", &format!("{url}/{id}"), &json!({ "params": params }))
                }
                Operation::Delete { id } => send("DELETE", &format!("{url}/{id}"), &Value::Null),
            };
            let Some((status, object)) = answer else {
                self.unanswered = Some(operation);
                return;
            };
            assert!(status < 300, "{operation:?} was answered {status}: {object}");
            match operation {
                Operation::Delete { id } => drop(self.streams.remove(&id)),
                _ => drop(self.streams.insert(text(&object, "id"), kept(&object))),
            }
            answered.send(()).expect("the kill waits for answers");
        }
    }

    fn choose(&mut self) -> Operation {
        let params = self.params();
        let is_full = self.streams.len() == MOST_STREAMS;
        let (choice, stream) = (self.random.below(8), self.random.below(MOST_STREAMS as u64));
        let id = self.streams.keys().cycle().nth(stream as usize).cloned();
        match (choice, id) {
            (0, Some(id)) => Operation::Delete { id },
            (1.., Some(id)) if is_full || choice > 2 => Operation::Change { id, params },
            _ => {
                self.created += 1;
                let name = format!("client {} stream {}", self.index, self.created);
                Operation::Create { name, params }
            }
        }
    }

    /// Most changes are hot, some need a reload.
    fn params(&mut self) -> Value {
        let prompt = format!("{:x}", self.random.next());
        match self.random.below(10) {
            0 => json!({ "prompt": prompt, "width": 64 + 8 * self.random.below(8) }),
            choice => json!({ "prompt": prompt, "invert": choice % 2 == 0 }),
        }
    }

    /// Takes what the server has of this client's streams, which may only differ by what was not answered.
    fn compare(&mut self, found: BTreeMap<String, Value>, counts: &mut Counts) {
        let unanswered = self.unanswered.take();
        let before = std::mem::replace(&mut self.streams, found.clone());
        counts.unanswered += u64::from(unanswered.is_some());
        if found == before {
            return;
        }
        if let Some(operation) = unanswered.as_ref().filter(|each| is_done(each, &before, &found)) {
            println!("done without an answer: {operation:?}");
            counts.done_all_the_same += 1;
            return;
        }
        println!("unanswered {unanswered:?}\nexpected {before:#?}\nfound {found:#?}");
        let lost = before.iter().filter(|(id, stream)| found.get(*id) != Some(stream)).count();
        counts.lost += lost as u64;
        counts.doubled += found.keys().filter(|id| !before.contains_key(*id)).count() as u64;
    }
}

/// Whether exactly this operation leads from what was answered to what is there.
fn is_done(
    operation: &Operation,
    before: &BTreeMap<String, Value>,
    found: &BTreeMap<String, Value>,
) -> bool {
    let (mut before, mut found) = (before.clone(), found.clone());
    match operation {
        Operation::Delete { id } => before.remove(id).is_some() && before == found,
        Operation::Change { id, params } => {
            let (Some(mut old), Some(new)) = (before.remove(id), found.remove(id)) else {
                return false;
            };
            overlay(&mut old["params"], params);
            old["revision"] = json!(old["revision"].as_u64().map(|revision| revision + 1));
            old == new && before == found
        }
        Operation::Create { name, params } => {
            let new = found.iter().find(|(id, _)| !before.contains_key(*id));
            let Some((id, new)) = new.map(|(id, new)| (id.clone(), new.clone())) else {
                return false;
            };
            found.remove(&id);
            let mut wished = new["params"].clone();
            overlay(&mut wished, params);
            new["name"] == json!(name) && new["params"] == wished && before == found
        }
    }
}

fn overlay(params: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().expect("params are an object") {
        params[key] = value.clone();
    }
}

/// All streams of the server, each compared with what its client knows.
fn compare(host: &Host, clients: &mut [Client], counts: &mut Counts) {
    let list = host.get("/v1/streams").json();
    let mut of_clients = vec![BTreeMap::new(); clients.len()];
    for stream in list["data"].as_array().expect("a list of streams") {
        let name = text(stream, "name");
        let index = name.split(' ').nth(1).and_then(|index| index.parse::<usize>().ok());
        let streams = index.and_then(|index| of_clients.get_mut(index));
        let streams = streams.unwrap_or_else(|| panic!("nobody's stream: {stream}"));
        if streams.insert(text(stream, "id"), kept(stream)).is_some() {
            println!("listed twice: {stream}");
            counts.doubled += 1;
        }
    }
    for (client, found) in clients.iter_mut().zip(of_clients) {
        client.compare(found, counts);
    }
}

/// Status and body; none when there was no whole answer.
fn send(method: &str, url: &str, body: &Value) -> Option<(u16, Value)> {
    let body = body.to_string();
    let answer =
        try_request(method, url, &[("content-type", "application/json")], body.as_bytes()).ok()?;
    Some((answer.status, answer.json()))
}

fn kept(object: &Value) -> Value {
    KEPT.iter().map(|key| (key.to_string(), object[*key].clone())).collect()
}

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_else(|| panic!("no {key}: {object}")).to_owned()
}

/// A generator that is repeatable by its seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
