//! A connection: requests come in, answers go out, no faster than the line allows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::objects::{Answer, Content};
use crate::{Line, lock};

/// How much goes over the wire at once; less where the line is slow, so that it flows evenly.
const SLICE: usize = 1 << 20;
const PACED_SLICE: usize = 128 << 10;
/// How far a connection may be ahead, because a sleep is never exact.
const CREDIT: Duration = Duration::from_millis(10);
/// How much of a head is read at once, and the longest head.
const HEAD: usize = 8 << 10;
const MAX_HEAD: usize = 64 << 10;

/// The head of a request.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Bucket and key, decoded, without the first slash.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    /// The length of the body.
    pub(crate) length: u64,
}

/// Where a body goes.
pub(crate) enum Keep {
    No,
    Memory,
    File(PathBuf),
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A connection and what was read ahead of it.
pub(crate) struct Wire {
    stream: Stream,
    ahead: Vec<u8>,
    buffer: Vec<u8>,
    free: Instant,
}

impl Request {
    /// Parses a head. A request that is none ends the connection.
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
        let path = decoded(path.trim_start_matches('/'));
        Some(Self { method, path, query: query.collect(), headers, length })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Returns the headers that an object keeps.
    pub(crate) fn kept_headers(&self) -> Vec<(String, String)> {
        let kept = |name: &str| {
            name.starts_with("x-amz-meta-")
                || (name.starts_with("x-amz-checksum-") && !name.ends_with("-algorithm"))
        };
        self.headers.iter().filter(|(name, _)| kept(name)).cloned().collect()
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.path.split_once('/').map(|(_, key)| key).filter(|key| !key.is_empty())
    }

    /// Returns the index of the request's kind in the counts.
    pub(crate) fn kind(&self) -> usize {
        match (self.method.as_str(), self.key()) {
            ("PUT", _) => 0,
            ("GET", Some(_)) => 1,
            ("HEAD", _) => 2,
            ("GET", None) => 3,
            ("POST", _) => 4,
            _ => 5,
        }
    }
}

/// Decodes percent signs. A plus stands for itself in a path, and no client here sends one.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let code = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if *first == b'%' => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        };
        Ok(Self { stream, ahead: Vec::new(), buffer: Vec::new(), free: Instant::now() })
    }

    /// Makes room in the buffer, whose content goes. A connection that only asks about objects
    /// needs little. Zeros for many connections at once would cost more than their requests.
    fn grow(&mut self, bytes: usize) {
        if self.buffer.len() < bytes {
            self.buffer = vec![0; bytes];
        }
    }

    fn read(&mut self, wanted: usize) -> io::Result<usize> {
        self.grow(wanted);
        let buffer = &mut self.buffer[..wanted];
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Reads the next head; none when the client closed the connection.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                let request = Request::parse(&String::from_utf8_lossy(&head));
                return request.map(Some).ok_or_else(|| io::Error::other("not HTTP"));
            }
            let read = self.read(HEAD)?;
            if read == 0 || self.ahead.len() > MAX_HEAD {
                return Ok(None);
            }
            self.ahead.extend_from_slice(&self.buffer[..read]);
        }
    }

    /// Waits until the line has had time for so many bytes.
    fn pace(&mut self, bytes: usize, line: &Line, shared: &Mutex<Instant>) {
        let now = Instant::now();
        let mut until = now;
        let mut book = |free: &mut Instant, rate: u64| {
            if rate > 0 {
                let start = (*free).max(now.checked_sub(CREDIT).unwrap_or(now));
                *free = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
                until = until.max(*free);
            }
        };
        book(&mut self.free, line.connection_rate);
        if line.total_rate > 0 {
            book(&mut lock(shared), line.total_rate);
        }
        if until > now {
            thread::sleep(until - now);
        }
    }

    /// Receives a body. What nobody keeps is never copied out of the kernel.
    pub(crate) fn receive(
        &mut self,
        length: u64,
        keep: Keep,
        line: &Line,
        shared: &Mutex<Instant>,
    ) -> io::Result<Content> {
        let mut memory = Vec::new();
        let mut file = match &keep {
            Keep::File(path) => Some(File::create(path)?),
            _ => None,
        };
        let keeps = !matches!(keep, Keep::No);
        let mut take = |bytes: &[u8]| match &mut file {
            Some(file) => file.write_all(bytes),
            None => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        };
        let early = self.ahead.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let ahead: Vec<u8> = self.ahead.drain(..early).collect();
        if keeps {
            take(&ahead)?;
        }
        let mut missing = length - early as u64;
        let slice = slice(line);
        while missing > 0 {
            let wanted = usize::try_from(missing).unwrap_or(slice).min(slice);
            self.grow(wanted);
            let read = match &self.stream {
                Stream::Plain(stream) if !keeps => {
                    rustix::net::recv(stream, &mut self.buffer[..wanted], RecvFlags::TRUNC)?.1
                }
                _ => self.read(wanted)?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if keeps {
                take(&self.buffer[..read])?;
            }
            missing -= read as u64;
            self.pace(read, line, shared);
        }
        Ok(match keep {
            Keep::No => Content::Forgotten,
            Keep::Memory => Content::Memory(memory.into()),
            Keep::File(path) => Content::File(path),
        })
    }

    /// Sends an answer.
    pub(crate) fn send(
        &mut self,
        answer: &Answer,
        line: &Line,
        shared: &Mutex<Instant>,
    ) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} -\r\ncontent-length: ", answer.status);
        head.push_str(&answer.length.to_string());
        for (name, value) in &answer.headers {
            head.push_str(&format!("\r\n{name}: {value}"));
        }
        head.push_str("\r\n\r\n");
        let mut bytes = head.into_bytes();
        let range = answer.offset as usize..(answer.offset + answer.sent) as usize;
        match &answer.content {
            Content::Forgotten => self.write(&bytes),
            Content::Memory(memory) => {
                bytes.extend_from_slice(memory.get(range).unwrap_or_default());
                self.pace(bytes.len(), line, shared);
                self.write(&bytes)
            }
            Content::File(path) => {
                self.write(&bytes)?;
                self.send_file(&File::open(path)?, answer, line, shared)
            }
        }
    }

    fn send_file(
        &mut self,
        file: &File,
        answer: &Answer,
        line: &Line,
        shared: &Mutex<Instant>,
    ) -> io::Result<()> {
        let (mut offset, end) = (answer.offset, answer.offset + answer.sent);
        let slice = slice(line) as u64;
        while offset < end {
            let wanted = (end - offset).min(slice) as usize;
            if let Stream::Tls(_) = self.stream {
                self.grow(wanted);
            }
            let sent = match &mut self.stream {
                Stream::Plain(stream) => {
                    rustix::fs::sendfile(stream, file, Some(&mut offset), wanted)?
                }
                Stream::Tls(stream) => {
                    let read = rustix::io::pread(file, &mut self.buffer[..wanted], offset)?;
                    stream.write_all(&self.buffer[..read])?;
                    offset += read as u64;
                    read
                }
            };
            if sent == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pace(sent, line, shared);
        }
        match &mut self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

fn slice(line: &Line) -> usize {
    if line.connection_rate + line.total_rate > 0 { PACED_SLICE } else { SLICE }
}
