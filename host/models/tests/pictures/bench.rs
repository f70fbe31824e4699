//! A network with one server.

use host_models::pictures::{
    Doing, FetchError, Limits, Network, PictureError, Pictures, Room, Rules, Settings,
};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// What tests call an address of the internet.
pub const PUBLIC: &str = "93.184.216.34";
pub const LIMIT: usize = 100_000;
/// Long enough for everything on this machine that does not wait on purpose.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub trait Peer: Read + Write + Send {}
impl<T: Read + Write + Send> Peer for T {}

/// What was asked for, and whom to answer.
pub struct Asked<'p> {
    pub host: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub peer: &'p mut dyn Peer,
}

impl Asked<'_> {
    /// Writes what the client may not want to read any more.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.peer.write_all(bytes.as_ref()).and_then(|()| self.peer.flush()).is_ok()
    }

    pub fn answer(&mut self, head: &str, body: &[u8]) {
        let length = body.len();
        self.write(format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\n\r\n"));
        self.write(body);
    }

    pub fn redirect(&mut self, status: u16, to: &str) {
        self.write(format!("HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
    }

    /// Until the client has gone.
    pub fn wait(&mut self) {
        while matches!(self.peer.read(&mut [0]), Ok(1..)) {}
    }
}

type Answer = dyn Fn(Asked<'_>) + Send + Sync;
type Wrap = dyn Fn(TcpStream) -> Option<Box<dyn Peer>> + Send + Sync;

pub struct Server {
    pub port: u16,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Peer>> + Send + Sync + 'static,
        answer: impl Fn(Asked<'_>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, wrap, answer) = (is_over.clone(), Box::new(wrap), Box::new(answer));
        let accepting = std::thread::spawn(move || accept(&listener, &over, &*wrap, &*answer));
        Self { port, is_over, accepting: Some(accepting) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, is_over: &AtomicBool, wrap: &Wrap, answer: &Answer) {
    std::thread::scope(|scope| {
        for connection in listener.incoming().flatten() {
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            scope.spawn(move || {
                let mut peer = wrap(connection)?;
                read_head(&mut *peer).map(|(host, target, headers)| {
                    answer(Asked { host, target, headers, peer: &mut *peer });
                })
            });
        }
    });
}

fn read_head(peer: &mut dyn Peer) -> Option<(String, String, HashMap<String, String>)> {
    let mut lines = BufReader::with_capacity(1, peer).lines();
    let target = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let lines = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let headers: HashMap<_, _> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    Some((headers.get("host")?.clone(), target, headers))
}

/// What was looked up and reached.
#[derive(Default)]
pub struct Net {
    port: u16,
    /// Of each name, what one question after the other is answered; the last stays.
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    pub asked: Mutex<Vec<String>>,
    pub reached: Mutex<Vec<String>>,
}

impl Net {
    pub fn name(&self, name: &str, answers: &[&[&str]]) {
        let address = |text: &&str| text.parse().expect("an address");
        let answers = answers.iter().map(|all| all.iter().map(address).collect()).collect();
        self.names.lock().expect("no panic").insert(name.to_owned(), answers);
    }

    pub fn reached(&self) -> Vec<String> {
        self.reached.lock().expect("no panic").clone()
    }
}

impl Network for Net {
    fn resolve(&self, name: &str) -> Doing<Vec<IpAddr>> {
        self.asked.lock().expect("no panic").push(name.to_owned());
        let mut names = self.names.lock().expect("no panic");
        let found = names.get_mut(name).map(|answers| match answers.len() {
            1 => answers[0].clone(),
            _ => answers.remove(0),
        });
        Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
    }

    fn connect(&self, address: SocketAddr) -> Doing<tokio::net::TcpStream> {
        self.reached.lock().expect("no panic").push(address.to_string());
        Box::pin(tokio::net::TcpStream::connect(("127.0.0.1", self.port)))
    }
}

pub struct Bench {
    pub pictures: Pictures,
    pub net: Arc<Net>,
    pub folder: TempDir,
    _server: Server,
}

impl Bench {
    /// A server without TLS, which is allowed here.
    pub fn new(answer: impl Fn(Asked<'_>) + Send + Sync + 'static) -> Self {
        let server = Server::start(|peer| Some(Box::new(peer)), answer);
        Self::with(server, Rules { allow_http: true, ..Rules::default() }, None)
    }

    /// The same, for answers that are not waited for to the end.
    pub fn hasty(answer: impl Fn(Asked<'_>) + Send + Sync + 'static) -> Self {
        let server = Server::start(|peer| Some(Box::new(peer)), answer);
        let rules = Rules { allow_http: true, ..Rules::default() };
        Self::limited(server, rules, None, Duration::from_millis(500))
    }

    pub fn with(server: Server, rules: Rules, authorities: Option<PathBuf>) -> Self {
        Self::limited(server, rules, authorities, PATIENCE)
    }

    fn limited(
        server: Server,
        rules: Rules,
        authorities: Option<PathBuf>,
        total: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let net = Arc::new(Net { port: server.port, ..Net::default() });
        net.name("a.example", &[&[PUBLIC]]);
        net.name("b.example", &[&["93.184.216.35"]]);
        let limits = Limits { bytes: LIMIT, total, ..Limits::default() };
        let settings = Settings {
            folder: folder.path().to_owned(),
            room: Room::default(),
            rules,
            limits,
            authorities,
        };
        let pictures = Pictures::open_with(settings, net.clone()).expect("a folder");
        Self { pictures, net, folder, _server: server }
    }

    /// The picture at a URL.
    pub async fn take(&self, url: &str) -> Result<RgbImage, PictureError> {
        let taken = tokio::time::timeout(PATIENCE, self.pictures.take(url, false)).await;
        let picture = taken.expect("it ends in time")?;
        let png = std::fs::read(picture.path()).expect("it is there");
        let picture = image::load_from_memory_with_format(&png, ImageFormat::Png);
        let DynamicImage::ImageRgb8(picture) = picture.expect("it is a PNG") else {
            panic!("it is not of 8-bit RGB")
        };
        Ok(picture)
    }

    pub async fn refusal(&self, url: &str) -> PictureError {
        self.take(url).await.err().unwrap_or_else(|| panic!("{url} was taken"))
    }

    pub async fn fetch_error(&self, url: &str) -> FetchError {
        match self.refusal(url).await {
            PictureError::Fetch(error) => error,
            other => panic!("{url}: {other:?}"),
        }
    }
}

/// One of this colour.
pub fn picture(width: u32, height: u32, colour: [u8; 3]) -> DynamicImage {
    DynamicImage::from(RgbImage::from_pixel(width, height, Rgb(colour)))
}

pub fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("it can be written");
    bytes.into_inner()
}

pub fn png() -> Vec<u8> {
    encode(&picture(8, 8, [200, 100, 50]), ImageFormat::Png)
}
