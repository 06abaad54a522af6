//! HTTP listeners that record their clients: hosts that no step may contact, hosts that never
//! answer, and proxies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The reaction of a listener to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers 403 without a body.
    Refuses,
    /// Reads the request and never answers.
    KeepsSilent,
    /// Is the metadata service of a machine whose identity has these two halves of a key.
    HasIdentity(&'static str, &'static str),
    /// Answers each request with this JSON document.
    Answers(&'static str),
    /// Is such a service, and answers 429 to the first request for each path.
    HasIdentityAndIsBusy(&'static str, &'static str),
    /// Forwards requests whose target is a whole `http` URL. Refuses CONNECT, so it is no tunnel.
    Proxies,
}

/// A listener on loopback. It ends with the process.
pub struct Listener {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    pub fn start(manner: Manner) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writing = seen.clone();
        thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let seen = writing.clone();
                seen.lock().unwrap().push(String::new());
                let number = seen.lock().unwrap().len() - 1;
                let before = seen.clone();
                let is_first = move |target: &str| {
                    let is_it = |head: &&String| head.split(' ').nth(1) == Some(target);
                    before.lock().unwrap().iter().filter(is_it).count() <= 1
                };
                thread::spawn(move || {
                    let see = |head: &str| seen.lock().unwrap()[number].push_str(head);
                    serve(stream, manner, &see, &is_first)
                });
            }
        });
        Self { url, seen }
    }

    /// Returns the request's head of each connection; empty for a connection without a request.
    pub fn connections(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut client: TcpStream,
    manner: Manner,
    see: &dyn Fn(&str),
    is_first: &dyn Fn(&str) -> bool,
) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    let mut length = 0;
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return see(&head);
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    see(&head);
    let target = head.split(' ').nth(1).unwrap().to_owned();
    match (manner, target.strip_prefix("http://")) {
        (Manner::KeepsSilent, _) => {
            let _ = reader.read_to_end(&mut Vec::new());
        }
        (Manner::Proxies, Some(rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            // The connection closes after a request, so that a second request opens a new
            // connection here.
            let head =
                head.replacen(&target, path, 1).replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let mut server = TcpStream::connect(host).unwrap();
            server.write_all(&[head.as_bytes(), &body].concat()).unwrap();
            let mut answer = Vec::new();
            let _ = server.read_to_end(&mut answer);
            let status =
                answer.iter().position(|byte| *byte == b'\n').map_or(answer.len(), |at| at + 1);
            let _ = client.write_all(
                &[&answer[..status], b"Connection: close\r\n", &answer[status..]].concat(),
            );
        }
        (Manner::HasIdentityAndIsBusy(..), _) if is_first(&target) => {
            let _ = client.write_all(
                b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        (Manner::HasIdentity(id, secret) | Manner::HasIdentityAndIsBusy(id, secret), _) => {
            let _ = client.write_all(identity(&target, id, secret).as_bytes());
        }
        (Manner::Answers(body), _) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let length = body.len();
            let _ = write!(client, "{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        }
        _ => {
            let _ = client.write_all(
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    }
}

/// Returns the answer of the metadata service.
///
/// Source: Amazon EC2 User Guide, "Use the Instance Metadata Service" and "Retrieve security
/// credentials from instance metadata".
fn identity(target: &str, id: &str, secret: &str) -> String {
    let body = match target.trim_end_matches('/').rsplit_once('/') {
        Some((_, "token")) => "a-session".to_owned(),
        Some((_, "security-credentials")) => "machine".to_owned(),
        Some((above, "machine")) if above.ends_with("/security-credentials") => format!(
            r#"{{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC",
            "AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"machine-session",
            "Expiration":"2999-01-01T00:00:00Z"}}"#
        ),
        _ => {
            return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned();
        }
    };
    format!(
        "HTTP/1.1 200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
