//! An S3 server for benchmarks that costs almost nothing, so that a client is measured and not its
//! server. It counts requests, and delays and paces connections like a line.
//!
//! It checks no signature and no digest, and forgets the bytes of large objects. A benchmark that
//! reads them back names files for them, or raises `keep` first.
//!
//! ```text
//! s3-stub DIR [CERTIFICATES KEY]     prints its port; ends with its standard input
//! ```
//!
//! Each line of standard input is a command, and gets one line as its answer:
//!
//! ```text
//! line LATENCY_MS CONNECTION_RATE TOTAL_RATE    in bytes a second; 0 is no limit
//! keep BYTES                                    keep the bytes of objects up to this length
//! file KEY PATH                                 an object with the bytes of this file
//! claim KEY SIZE SHA256                         an object without bytes, and its checksum
//! remove PREFIX                                 forget these objects
//! counts                                        what was counted, as JSON; counts from 0 again
//! ```

mod objects;
mod wire;

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use objects::{Content, Object, Objects};
use wire::Wire;

/// The answer to everything that cannot go on: the benchmark must stop, not measure nonsense.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Default)]
struct Line {
    latency: Duration,
    connection_rate: u64,
    total_rate: u64,
}

#[derive(Clone, Default)]
struct Counts {
    /// PUT, GET, HEAD, LIST, POST and DELETE.
    requests: [u64; 6],
    bytes_in: u64,
    bytes_out: u64,
    connections: u64,
    open: u64,
    most_open: u64,
    refused: u64,
    first: Option<Duration>,
}

/// All that the connections share.
struct Stub {
    line: Mutex<Line>,
    counts: Mutex<Counts>,
    /// When the line that all connections share is free again.
    free: Mutex<Instant>,
    objects: Mutex<Objects>,
}

/// Locks. A thread that panicked left nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counts {
    fn json(&self) -> String {
        let [put, get, head, list, post, delete] = self.requests;
        format!(
            "{{\"PUT\":{put},\"GET\":{get},\"HEAD\":{head},\"LIST\":{list},\"POST\":{post},\
             \"DELETE\":{delete},\"in\":{},\"out\":{},\"connections\":{},\"most_open\":{},\
             \"refused\":{},\"first\":{:.6}}}",
            self.bytes_in,
            self.bytes_out,
            self.connections,
            self.most_open,
            self.refused,
            self.first.unwrap_or_default().as_secs_f64(),
        )
    }
}

/// Does one command and returns its answer.
fn command(stub: &Stub, text: &str) -> Result<String, Failure> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["line", latency, connection_rate, total_rate] => {
            *lock(&stub.line) = Line {
                latency: Duration::from_millis(latency.parse()?),
                connection_rate: connection_rate.parse()?,
                total_rate: total_rate.parse()?,
            };
        }
        ["keep", bytes] => lock(&stub.objects).keep = bytes.parse()?,
        ["file", key, path] => {
            let size = std::fs::metadata(path)?.len();
            let content = Content::File(PathBuf::from(path));
            lock(&stub.objects).insert(key, Object { size, content, ..Object::default() });
        }
        ["claim", key, size, digest] => {
            let headers = vec![("x-amz-checksum-sha256".to_owned(), digest.to_owned())];
            let object = Object { size: size.parse()?, headers, ..Object::default() };
            lock(&stub.objects).insert(key, object);
        }
        ["remove", prefix] => lock(&stub.objects).remove(prefix)?,
        ["counts"] => {
            let mut counts = lock(&stub.counts);
            let open = counts.open;
            let counted = std::mem::replace(
                &mut *counts,
                Counts { open, most_open: open, ..Counts::default() },
            );
            return Ok(counted.json());
        }
        _ => return Err(format!("no command: {text}").into()),
    }
    Ok("ok".to_owned())
}

/// Listens with a queue that no crowd of new connections overflows: a lost one costs a client 1 s.
fn listen() -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&listener, &SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))?;
    listen(&listener, 4096)?;
    Ok(TcpListener::from(listener))
}

fn accept(stub: &Arc<Stub>, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
    for stream in listener.incoming().flatten() {
        let (stub, tls) = (Arc::clone(stub), tls.cloned());
        thread::spawn(move || {
            {
                let mut counts = lock(&stub.counts);
                counts.connections += 1;
                counts.open += 1;
                counts.most_open = counts.most_open.max(counts.open);
            }
            // A client that leaves in the middle is no failure of the stub.
            let _ = Wire::new(stream, tls).and_then(|mut wire| serve(&stub, &mut wire));
            lock(&stub.counts).open -= 1;
        });
    }
}

/// Answers the requests of a connection until the client closes it.
fn serve(stub: &Stub, wire: &mut Wire) -> io::Result<()> {
    while let Some(request) = wire.request()? {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = *lock(&stub.line);
        {
            let mut counts = lock(&stub.counts);
            counts.first.get_or_insert(now);
            counts.requests[request.kind()] += 1;
            counts.bytes_in += request.length;
        }
        if request.header("expect").is_some() {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let keeps = lock(&stub.objects).place(&request);
        let body = wire.receive(request.length, keeps, &line, &stub.free)?;
        if !line.latency.is_zero() {
            thread::sleep(line.latency);
        }
        let answer = objects::answer(&stub.objects, &request, body);
        {
            let mut counts = lock(&stub.counts);
            counts.refused += u64::from(answer.status >= 400);
            counts.bytes_out += answer.sent;
        }
        wire.send(&answer, &line, &stub.free)?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (directory, tls) = match &words[..] {
        [directory] => (directory, None),
        [directory, certificates, key] => {
            let chain = CertificateDer::pem_file_iter(certificates)?.collect::<Result<_, _>>()?;
            let key = PrivateKeyDer::from_pem_file(key)?;
            let config =
                ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
            (directory, Some(Arc::new(config)))
        }
        _ => return Err("usage: s3-stub DIR [CERTIFICATES KEY]".into()),
    };
    let stub = Arc::new(Stub {
        line: Mutex::default(),
        counts: Mutex::default(),
        free: Mutex::new(Instant::now()),
        objects: Mutex::new(Objects::new(directory.clone())),
    });
    let listener = listen()?;
    let mut output = io::stdout();
    writeln!(output, "{}", listener.local_addr()?.port())?;
    let shared = Arc::clone(&stub);
    thread::spawn(move || accept(&shared, &listener, tls.as_ref()));
    for text in io::stdin().lock().lines() {
        writeln!(output, "{}", command(&stub, &text?)?)?;
    }
    Ok(())
}
