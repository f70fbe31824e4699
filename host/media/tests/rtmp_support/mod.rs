//! What the RTMP tests drive: ffmpeg, a sink that looks at what it is given, and a way to a server that can be blocked.

use crate::support::{Pixels, Server};
use host_ports::{
    Fit, Frame, FrameSize, FrameSlot, IngressEvent, IngressSink, MediaPath, MediaServer,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use test_peer::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How often a condition is looked at that nothing tells of.
const GLANCE: Duration = Duration::from_millis(10);

pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + 2 * PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited for: {what}");
        std::thread::sleep(GLANCE);
    }
}

pub fn free_port() -> u16 {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// ffmpeg at work; ended with the test.
pub struct Ffmpeg(Child);

impl Ffmpeg {
    pub fn start(args: &[&str]) -> Self {
        let child = Command::new("ffmpeg")
            .args(["-hide_banner", "-nostdin", "-nostats"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("ffmpeg is installed"))
    }

    /// Publishes a test source in real time; later options win.
    pub fn publish(source: &str, options: &[&str], url: &str) -> Self {
        let input = ["-re", "-f", "lavfi", "-i", source];
        // Further inputs come before what is said of the output.
        let (inputs, options) = match options.iter().position(|option| *option == "-c:a") {
            Some(at) => options.split_at(at),
            None => (&[][..], options),
        };
        let output = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", "30"];
        let fast = ["-tune", "zerolatency"];
        let to = ["-f", "flv", url];
        Self::start(&[&input, inputs, &output, &fast, options, &to].concat())
    }

    /// Waits until it ends by itself, and gives what it said.
    pub fn end(&mut self) -> String {
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        self.0.wait().unwrap();
        said
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Both fail when it has ended.
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Notes the brightness in the middle of what is published, and shows it if it is to.
pub struct Screen {
    size: FrameSize,
    seen: Mutex<Vec<u8>>,
    news: Condvar,
    path: OnceLock<Weak<dyn MediaPath>>,
}

impl Screen {
    pub fn open(server: &Server, stream: &str, size: FrameSize) -> (Arc<dyn MediaPath>, Arc<Self>) {
        let (seen, news, path) = (Mutex::default(), Condvar::new(), OnceLock::new());
        let screen = Arc::new(Self { size, seen, news, path });
        (server.media.open(stream, screen.clone()), screen)
    }

    pub fn shows(&self, path: &Arc<dyn MediaPath>) {
        let _ = self.path.set(Arc::downgrade(path));
    }

    pub fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for a frame of such a brightness.
    pub fn until(&self, what: &str, is_meant: impl Fn(u8) -> bool) {
        let has_none = |seen: &mut Vec<u8>| !seen.iter().any(|brightness| is_meant(*brightness));
        let seen = self.seen.lock().unwrap();
        let (seen, waited) = self.news.wait_timeout_while(seen, 2 * PATIENCE, has_none).unwrap();
        assert!(!waited.timed_out(), "waited for {what}, saw {seen:?}");
    }
}

impl IngressSink for Screen {
    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        Some(Box::new(Pixels::black(self.size)))
    }

    fn fit(&self) -> Fit {
        Fit::Crop
    }

    fn put(&self, frame: Frame) {
        let middle = frame.pixels()[frame.pixels().len() / 2];
        if let Some(path) = self.path.get().and_then(Weak::upgrade) {
            path.show(frame);
        }
        self.seen.lock().unwrap().push(middle);
        self.news.notify_all();
    }

    fn on(&self, _: IngressEvent) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Nothing is read any more, and connections stay.
    Stalled,
    /// Connections are closed, old and new.
    Cut,
}

/// Ways to a server of this machine, all alike.
pub struct Ways {
    pub port: u16,
    way: watch::Sender<Way>,
}

impl Ways {
    pub fn to(server: &Server, port: u16, tls: Option<TlsAcceptor>) -> Self {
        let (way, watched) = watch::channel(Way::Open);
        let listener = server.runtime().block_on(async { listen() });
        let own = listener.local_addr().unwrap().port();
        server.runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, mut way) = (tls.clone(), watched.clone());
                tokio::spawn(async move {
                    let mut until_cut = way.clone();
                    let carried = async {
                        let there = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                        match tls {
                            Some(tls) => carry(tls.accept(stream).await?, there, &mut way).await,
                            None => carry(stream, there, &mut way).await,
                        }
                    };
                    tokio::select! {
                        _ = carried => {}
                        _ = until_cut.wait_for(|way| *way == Way::Cut) => {}
                    }
                });
            }
        });
        Self { port: own, way }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

/// With room for little, so that a blocked way is felt soon.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    socket.listen(16).unwrap()
}

async fn carry(
    here: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    there: TcpStream,
    way: &mut watch::Receiver<Way>,
) -> std::io::Result<()> {
    let (mut from_here, mut to_here) = tokio::io::split(here);
    let (mut from_there, mut to_there) = there.into_split();
    let forth = async {
        let mut buffer = vec![0; 4096];
        loop {
            let _ = way.wait_for(|way| *way != Way::Stalled).await;
            let count = from_here.read(&mut buffer).await?;
            if count == 0 {
                return to_there.shutdown().await;
            }
            to_there.write_all(&buffer[..count]).await?;
        }
    };
    let back = async {
        tokio::io::copy(&mut from_there, &mut to_here).await?;
        to_here.shutdown().await
    };
    tokio::try_join!(forth, back).map(drop)
}

/// Of a test's own, and a certificate of it for `localhost`.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
