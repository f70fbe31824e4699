//! A stand-in of the hub for tests, with one model, on a free port: the listing, small files at their address, weights by a
//! redirect to another host name. A hook may answer in its place. It closes each connection after one answer.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The model.
#[derive(Clone)]
pub struct Repo {
    pub id: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repo {
    /// All files of a folder.
    pub fn of_folder(id: &str, folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        read_into(&mut files, folder, "");
        Self { id: id.to_owned(), files }
    }
}

fn read_into(files: &mut BTreeMap<String, Vec<u8>>, folder: &Path, before: &str) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_into(files, &entry.path(), &format!("{name}/"));
        } else {
            files.insert(name, std::fs::read(entry.path()).expect("a file"));
        }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// First byte asked for.
    pub from: Option<u64>,
    pub token: Option<String>,
    /// How many requests with the same method and target came before.
    pub earlier: usize,
}

/// What is answered, and how.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

#[derive(Clone, Copy)]
pub enum End {
    Whole,
    /// All of it, in chunks of an untold number.
    Chunked,
    /// After so many bytes the connection ends.
    Cut(usize),
    /// After so many bytes nothing comes until the client goes.
    Stall(usize),
}

pub trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

type Hook = dyn Fn(&Seen, Reply) -> Reply + Send + Sync;
type Wrap = dyn Fn(TcpStream) -> Box<dyn Connection> + Send + Sync;

pub struct StandIn {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Reply {
    pub fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let headers = headers.iter().map(owned).collect();
        Self { status, headers, body: body.to_vec(), end: End::Whole }
    }

    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }
}

impl Seen {
    /// Whether these are bytes of weights.
    pub fn is_transfer(&self) -> bool {
        self.method == "GET" && self.target.starts_with("/cdn/")
    }
}

impl StandIn {
    /// Serves the model; `hook` sees each request with the right answer and gives what is sent.
    pub fn start(repo: Repo, hook: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_over("http", |connection| Box::new(connection), repo, hook)
    }

    pub fn start_over(
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> Box<dyn Connection> + Send + Sync + 'static,
        repo: Repo,
        hook: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let server = Server {
            repo,
            cdn: format!("{scheme}://localhost:{port}/cdn"),
            seen: seen.clone(),
            hook: Box::new(hook),
            wrap: Box::new(wrap),
        };
        let over = is_over.clone();
        let accepting = std::thread::spawn(move || server.accept(&listener, &over));
        Self { port, seen, is_over, accepting: Some(accepting) }
    }

    /// Another host name than the one that redirects name.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// The first bytes that were asked for of weights, in order.
    pub fn transfers(&self) -> Vec<Option<u64>> {
        self.seen().iter().filter(|seen| seen.is_transfer()).map(|seen| seen.from).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

struct Server {
    repo: Repo,
    cdn: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    hook: Box<Hook>,
    wrap: Box<Wrap>,
}

impl Server {
    fn accept(&self, listener: &TcpListener, is_over: &AtomicBool) {
        std::thread::scope(|scope| {
            for connection in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                scope.spawn(|| self.serve((self.wrap)(connection)));
            }
        });
    }

    /// A client that goes away is nothing to fail for.
    fn serve(&self, mut connection: Box<dyn Connection>) -> Option<()> {
        let seen = self.read(&mut connection)?;
        let reply = (self.hook)(&seen, self.right(&seen));
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let has_length = reply.headers.iter().any(|(name, _)| name == "Content-Length");
        head += &match reply.end {
            End::Chunked => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            _ if has_length => "\r\n".to_owned(),
            _ => format!("Content-Length: {}\r\n\r\n", reply.body.len()),
        };
        connection.write_all(head.as_bytes()).ok()?;
        if seen.method != "HEAD" {
            send(&mut connection, &reply).ok()?;
        }
        connection.flush().ok()?;
        if let End::Stall(_) = reply.end {
            // Returns when the client has gone.
            let _ = connection.read(&mut [0]);
        }
        Some(())
    }

    fn read(&self, connection: &mut Box<dyn Connection>) -> Option<Seen> {
        let mut lines = BufReader::new(connection).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = BTreeMap::new();
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ")?;
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let from = headers
            .get("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let token = headers.remove("authorization");
        let mut all = self.seen.lock().expect("no panic");
        let is_same = |other: &&Seen| other.method == method && other.target == target;
        let earlier = all.iter().filter(is_same).count();
        let seen = Seen { method, target, from, token, earlier };
        all.push(seen.clone());
        Some(seen)
    }

    /// What the hub would answer.
    fn right(&self, seen: &Seen) -> Reply {
        let id = &self.repo.id;
        if seen.target.starts_with(&format!("/api/models/{id}/revision/")) {
            return self.listing(seen.target.ends_with("?blobs=true"));
        }
        let not_found = || Reply::new(404, &[("X-Error-Code", "EntryNotFound")], b"");
        if let Some(name) = seen.target.strip_prefix(&format!("/{id}/resolve/{COMMIT}/")) {
            let file = self.repo.files.get(name);
            return file.map_or_else(not_found, |bytes| self.file(name, bytes, seen));
        }
        let checksum = seen.target.strip_prefix("/cdn/").unwrap_or_default();
        let blob = self.repo.files.values().find(|bytes| sha256(bytes) == checksum);
        blob.map_or_else(not_found, |bytes| ranged(bytes, seen.from))
    }

    fn listing(&self, tells_sizes: bool) -> Reply {
        let entry = |(name, bytes): (&String, &Vec<u8>)| match tells_sizes {
            true => format!("{{\"rfilename\": {name:?}, \"size\": {}}}", bytes.len()),
            false => format!("{{\"rfilename\": {name:?}}}"),
        };
        let names = self.repo.files.iter().map(entry).collect::<Vec<_>>().join(", ");
        let text = format!("{{\"id\": \"x\", \"sha\": \"{COMMIT}\", \"siblings\": [{names}]}}");
        Reply::new(200, &[], text.as_bytes())
    }

    fn file(&self, name: &str, bytes: &[u8], seen: &Seen) -> Reply {
        let size = bytes.len().to_string();
        if name.ends_with(".safetensors") {
            let checksum = sha256(bytes);
            let (etag, to) = (format!("\"{checksum}\""), format!("{}/{checksum}", self.cdn));
            let headers = [
                ("Location", to.as_str()),
                ("X-Linked-Etag", &etag),
                ("X-Linked-Size", &size),
                ("X-Repo-Commit", COMMIT),
            ];
            return Reply::new(302, &headers, b"");
        }
        let mut reply = ranged(bytes, seen.from);
        reply.headers.push(("ETag".into(), format!("\"{}\"", git_sha1(bytes))));
        reply.headers.push(("X-Repo-Commit".into(), COMMIT.into()));
        reply
    }
}

fn send(connection: &mut Box<dyn Connection>, reply: &Reply) -> std::io::Result<()> {
    match reply.end {
        End::Whole => connection.write_all(&reply.body),
        End::Cut(count) | End::Stall(count) => connection.write_all(&reply.body[..count]),
        End::Chunked => {
            for chunk in reply.body.chunks(50_000) {
                write!(connection, "{:x}\r\n", chunk.len())?;
                connection.write_all(chunk)?;
                connection.write_all(b"\r\n")?;
            }
            connection.write_all(b"0\r\n\r\n")
        }
    }
}

fn ranged(bytes: &[u8], from: Option<u64>) -> Reply {
    let Some(from) = from else { return Reply::new(200, &[], bytes) };
    let whole = bytes.len();
    match bytes.get(from as usize..).filter(|rest| !rest.is_empty()) {
        Some(rest) => {
            let range = format!("bytes {from}-{}/{whole}", whole - 1);
            Reply::new(206, &[("Content-Range", &range)], rest)
        }
        None => Reply::new(416, &[("Content-Range", &format!("bytes */{whole}"))], b""),
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn git_sha1(bytes: &[u8]) -> String {
    let whole = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(&Sha1::digest(whole))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
