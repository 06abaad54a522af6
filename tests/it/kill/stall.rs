//! A proxy before a server. It lets bytes pass until a certain request, and then nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::s3::Endpoint;

pub struct Stall {
    endpoint: Endpoint,
    begun: Arc<AtomicBool>,
}

impl Stall {
    /// Holds back requests of this method whose path contains the text, for ever.
    pub fn before(server: &Endpoint, method: &'static str, path: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ..server.clone()
        };
        let upstream = server.url.strip_prefix("http://").unwrap().to_owned();
        let begun = Arc::new(AtomicBool::new(false));
        let told = begun.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&upstream).unwrap());
                let (back, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(back, to, |_| true));
                let told = told.clone();
                thread::spawn(move || {
                    pass(client, server, |bytes| {
                        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                        let line = String::from_utf8_lossy(line);
                        let passes = !(line.starts_with(method) && line.contains(path));
                        told.fetch_or(!passes, Ordering::Relaxed);
                        passes
                    });
                });
            }
        });
        Self { endpoint, begun }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

/// Copies bytes until a side closes. From the first bytes that do not pass, it only reads.
fn pass(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    let mut open = true;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        open &= passes(&buffer[..count]);
        if open && to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
