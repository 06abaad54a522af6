//! S3 servers for tests: SeaweedFS as a process of `scripts/with-s3`, and `s3s` inside this
//! process, with faults on demand.
//!
//! The inner server keeps its objects with `s3s-fs`. That library checks conditions without
//! atomicity, and digests only after the write. This server corrects both, as Amazon S3 documents
//! them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use ml_cache::format::Digest;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use s3s::auth::SimpleAuth;
use s3s::dto::{
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, PutObjectInput,
    PutObjectOutput,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::stream::ByteStream;
use s3s::{Body, HttpRequest, HttpResponse, S3, S3Request, S3Response, S3Result, StdError};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, RwLock};
use tokio::time::Sleep;

/// The address of an S3 server, and the keys that it accepts.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

impl Endpoint {
    /// Returns the server that `scripts/with-s3` started.
    pub fn seaweedfs() -> Self {
        let get = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: run the tests through `scripts/with-s3`")
            })
        };
        Self {
            url: get("AWS_ENDPOINT_URL"),
            region: get("AWS_REGION"),
            access_key: get("AWS_ACCESS_KEY_ID"),
            secret_key: get("AWS_SECRET_ACCESS_KEY"),
        }
    }

    /// Returns the variables that a client of this server needs.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
        ]
    }

    /// Makes a bucket with a random name.
    pub fn fresh_bucket(&self) -> String {
        let bucket = format!("test-{:016x}", rand::random::<u64>());
        self.script(&["mb", &bucket]);
        bucket
    }

    /// Runs `scripts/s3`, which talks to the server by curl, and returns its output.
    pub fn script(&self, arguments: &[&str]) -> Vec<u8> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3");
        let output = Command::new(script).args(arguments).envs(self.env()).output().unwrap();
        assert!(
            output.status.success(),
            "scripts/s3 {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

/// A fault in the handling of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with this status and S3 code, without doing the work.
    Answer(u16, &'static str),
    /// Answers 403 with this message, without doing the work.
    Says(String),
    /// Redirects with this status to another host.
    Moved(u16, String),
    /// Answers with this status that the bucket is in this region.
    OfRegion(u16, &'static str),
    /// Resets the connection: before a PUT does its work, or in the middle of a GET's body.
    Reset,
    /// Ends the body of a GET early, and then the connection.
    Truncate,
    /// Changes a byte in the body of a GET.
    Flip,
    /// Does the work, and resets the connection instead of answering.
    LoseReply,
    /// Waits for this time, and then does the work.
    Delay(Duration),
    /// Answers with this status and without a code of S3, and demands a pause of these seconds.
    Busy(u16, u64),
    /// Answers with this status, content type and body, without doing the work.
    Page(u16, &'static str, String),
    /// Does the work, and changes the answer like a proxy or another service.
    Reply(Change),
}

/// What a proxy or another service does to an answer.
#[derive(Clone, Debug)]
pub enum Change {
    /// Removes `content-length`; the body has chunks of no known length.
    NoLength,
    /// Marks the entity tag as weak.
    WeakTag,
    /// Adds a header.
    Header(&'static str, String),
    /// Repeats a header.
    Twice(&'static str),
    /// Removes a header.
    Without(&'static str),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: Method,
    /// The path of the URL, still percent-encoded.
    pub path: String,
    pub headers: HeaderMap,
    /// The digest of the body; `None` if the fault came before the body.
    pub body: Option<Digest>,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the host that the client addressed. With this server as a proxy, that is another
    /// host.
    pub fn host(&self) -> &str {
        self.header(HOST.as_str()).unwrap()
    }
}

struct Rule {
    method: Method,
    path: String,
    fault: Fault,
    times: BTreeSet<u32>,
    seen: u32,
}

struct Inner {
    service: S3Service,
    root: TempDir,
    /// Readers share the lock and a writer holds it alone, so a check and its write are atomic.
    gate: RwLock<()>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Recorded>>,
    /// Whether the roles of the clients only create shared content.
    creates_only: AtomicBool,
    storm: Mutex<Option<Storm>>,
}

/// Faults that pass, in a random order.
struct Storm {
    percent: u32,
    chance: StdRng,
    strikes: usize,
}

impl Storm {
    fn strike(&mut self, method: &Method) -> Option<Fault> {
        if self.chance.random_range(0..100) >= self.percent {
            return None;
        }
        self.strikes += 1;
        let mut faults = vec![
            Fault::Busy(408, 0),
            Fault::Busy(429, 1),
            Fault::Busy(429, 0),
            Fault::Busy(500, 0),
            Fault::Busy(502, 0),
            Fault::Busy(504, 0),
            Fault::Answer(503, "SlowDown"),
            Fault::Answer(400, "RequestTimeout"),
            Fault::LoseReply,
            Fault::Delay(Duration::from_millis(700)),
        ];
        match *method {
            Method::PUT => faults.extend([
                Fault::Reset,
                Fault::Answer(409, "ConditionalRequestConflict"),
                Fault::Answer(400, "BadDigest"),
            ]),
            Method::GET => faults.extend([Fault::Reset, Fault::Truncate]),
            _ => {}
        }
        let number = self.chance.random_range(0..faults.len());
        Some(faults.swap_remove(number))
    }
}

/// An S3 server in this process, with its own threads and the single bucket `models`.
pub struct Server {
    pub endpoint: Endpoint,
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start() -> Self {
        Self::serve(|root| S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap()))
    }

    /// Starts a server that ignores the conditions of writes, as some services do.
    pub fn careless() -> Self {
        Self::serve(|root| S3ServiceBuilder::new(Careless(s3s_fs::FileSystem::new(root).unwrap())))
    }

    fn serve(service: impl FnOnce(&Path) -> S3ServiceBuilder) -> Self {
        // The library reads its keys from the environment, so the server accepts the keys there.
        let var =
            |name: &str, other: &str| std::env::var(name).unwrap_or_else(|_| other.to_owned());
        let mut endpoint = Endpoint {
            url: String::new(),
            region: var("AWS_REGION", "us-east-1"),
            access_key: var("AWS_ACCESS_KEY_ID", "test-access-key"),
            secret_key: var("AWS_SECRET_ACCESS_KEY", "test-secret-key"),
        };
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("models")).unwrap();
        let mut builder = service(root.path());
        builder.set_auth(SimpleAuth::from_single(
            endpoint.access_key.clone(),
            endpoint.secret_key.clone(),
        ));
        let inner = Arc::new(Inner {
            service: builder.build(),
            root,
            gate: RwLock::default(),
            rules: Mutex::default(),
            requests: Mutex::default(),
            creates_only: AtomicBool::default(),
            storm: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        endpoint.url = format!("http://{}", listener.local_addr().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let serving = inner.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(serving.clone(), socket));
            }
        });
        Self { endpoint, inner, runtime: Some(runtime) }
    }

    /// Makes requests fail whose method matches and whose path contains the text.
    ///
    /// `times` selects some of these requests by their number, counted from 1.
    pub fn fault(&self, method: Method, path: &str, times: impl RangeBounds<u32>, fault: Fault) {
        let times = (1..=1000).filter(|time| times.contains(time)).collect();
        self.inner.rules.lock().unwrap().push(Rule {
            method,
            path: path.to_owned(),
            fault,
            times,
            seen: 0,
        });
    }

    /// From now on, this share of all requests meets a fault that passes.
    pub fn storm(&self, percent: u32, seed: u64) {
        let chance = StdRng::seed_from_u64(seed);
        *self.inner.storm.lock().unwrap() = Some(Storm { percent, chance, strikes: 0 });
    }

    /// Ends the storm, and returns the number of its faults.
    pub fn calm(&self) -> usize {
        self.inner.storm.lock().unwrap().take().map_or(0, |storm| storm.strikes)
    }

    /// Ends all faults, and forgets the recorded requests.
    pub fn reset(&self) {
        self.inner.rules.lock().unwrap().clear();
        self.inner.requests.lock().unwrap().clear();
    }

    /// From now on, shared content is created and never replaced, as the policies of deploy/ say.
    pub fn create_only(&self) {
        self.inner.creates_only.store(true, Ordering::Relaxed);
    }

    /// Returns every request since the start or the last `reset`.
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.requests.lock().unwrap().clone()
    }

    /// Returns the requests of this method whose path contains the text.
    pub fn requests_to(&self, method: Method, path: &str) -> Vec<Recorded> {
        self.requests()
            .into_iter()
            .filter(|request| request.method == method && request.path.contains(path))
            .collect()
    }

    /// Returns the keys of the bucket `models` that contain the text, sorted, with their files.
    pub fn objects(&self, part: &str) -> Vec<(String, PathBuf)> {
        let bucket = self.inner.root.path().join("models");
        let mut found = Vec::new();
        let mut stack = vec![bucket.clone()];
        while let Some(directory) = stack.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let key = path.strip_prefix(&bucket).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    stack.push(path);
                } else if key.contains(part) {
                    found.push((key, path));
                }
            }
        }
        found.sort();
        found
    }

    /// Replaces the bytes of an object. The server's checksum of the new bytes is correct.
    pub fn overwrite(&self, key: &str, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        let payload = format!("x-amz-content-sha256: {}", digest.hex());
        let checksum = format!("x-amz-checksum-sha256: {}", digest.base64());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, bytes).unwrap();
        let file = file.path().to_str().unwrap();
        self.endpoint
            .script(&["put", "models", key, file, "--header", &payload, "--header", &checksum]);
    }
}

/// A service that ignores conditions.
struct Careless(s3s_fs::FileSystem);

#[async_trait]
impl S3 for Careless {
    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        request.input.if_match = None;
        request.input.if_none_match = None;
        self.0.put_object(request).await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.0.get_object(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.0.head_object(request).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves a connection until it ends or a fault cuts it.
async fn connection(inner: Arc<Inner>, socket: TcpStream) {
    // The last owner of a socket decides how it closes. Through this twin, a fault makes that a
    // reset.
    let (socket, twin) = {
        let socket = socket.into_std().unwrap();
        let twin = socket.try_clone().unwrap();
        (TcpStream::from_std(socket).unwrap(), TcpStream::from_std(twin).unwrap())
    };
    let cut = Arc::new(Notify::new());
    let service = {
        let cut = cut.clone();
        hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (inner, cut) = (inner.clone(), cut.clone());
            async move { Ok::<_, Infallible>(inner.answer(request, &cut).await) }
        })
    };
    let builder = Builder::new(TokioExecutor::new()).http1_only();
    tokio::select! {
        // If the client goes away, the server need not fail.
        _ = builder.serve_connection(TokioIo::new(socket), service) => {}
        () = cut.notified() => twin.set_zero_linger().unwrap(),
    }
}

impl Inner {
    async fn answer(&self, request: hyper::Request<Incoming>, cut: &Arc<Notify>) -> HttpResponse {
        let (parts, body) = request.into_parts();
        let fault = self
            .fault_for(&parts.method, parts.uri.path())
            .or_else(|| self.storm.lock().unwrap().as_mut()?.strike(&parts.method));
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(Recorded {
                method: parts.method.clone(),
                path: parts.uri.path().to_owned(),
                headers: parts.headers.clone(),
                body: None,
            });
            requests.len() - 1
        };
        if matches!(fault, Some(Fault::Reset)) && parts.method == Method::PUT {
            return reset(cut).await;
        }
        // The client broke off its request, so it gets no answer.
        let Ok(body) = Body::from(body).store_all_limited(64 << 20).await else {
            return reset(cut).await;
        };
        if let Some(recorded) = self.requests.lock().unwrap().get_mut(number) {
            recorded.body = Some(Digest::of(&body));
        }
        if let Some(Fault::Answer(status, code)) = fault {
            return error(status, code);
        }
        if let Some(Fault::Busy(status, seconds)) = fault {
            let mut response = HttpResponse::new(Body::from("busy".to_owned()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            return response;
        }
        if let Some(Fault::Page(status, kind, text)) = fault {
            let mut response = HttpResponse::new(Body::from(text));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
            return response;
        }
        if let Some(Fault::Says(message)) = fault {
            return error_saying(403, "AccessDenied", &message);
        }
        if let Some(Fault::Moved(status, host)) = &fault {
            let mut response = error(*status, "PermanentRedirect");
            response
                .headers_mut()
                .insert(LOCATION, format!("{host}{}", parts.uri).parse().unwrap());
            return response;
        }
        if let Some(Fault::OfRegion(status, region)) = fault {
            let mut response = error(status, "PermanentRedirect");
            response.headers_mut().insert("x-amz-bucket-region", region.parse().unwrap());
            return response;
        }
        if let Some(Fault::Delay(pause)) = fault {
            tokio::time::sleep(pause).await;
        }
        let response = self.perform(hyper::Request::from_parts(parts, body)).await;
        match fault {
            Some(Fault::LoseReply) => reset(cut).await,
            Some(fault @ (Fault::Reset | Fault::Truncate | Fault::Flip)) => {
                spoil(response, &fault, cut).await
            }
            Some(Fault::Reply(change)) => changed(response, change).await,
            _ => response,
        }
    }

    fn fault_for(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        rules.iter_mut().filter(|rule| rule.method == method && path.contains(&rule.path)).fold(
            None,
            |found, rule| {
                rule.seen += 1;
                found.or_else(|| rule.times.contains(&rule.seen).then(|| rule.fault.clone()))
            },
        )
    }

    /// Does the work of a request as Amazon S3 documents it, where `s3s-fs` differs.
    async fn perform(&self, request: hyper::Request<Bytes>) -> HttpResponse {
        let bucket = request.uri().path().split('/').nth(1).unwrap_or_default();
        if !self.root.path().join(bucket).is_dir() {
            return error(404, "NoSuchBucket");
        }
        let announced = request.headers().get("x-amz-checksum-sha256");
        if announced
            .is_some_and(|announced| announced != Digest::of(request.body()).base64().as_str())
        {
            return error(400, "BadDigest");
        }
        let writes = request.method() == Method::PUT;
        let is_shared = ["/v1/blobs/", "/v1/manifests/", "/v1/inputs/"]
            .iter()
            .any(|it| request.uri().path().contains(it));
        if writes
            && is_shared
            && self.creates_only.load(Ordering::Relaxed)
            && !request.headers().contains_key(IF_NONE_MATCH)
        {
            return error(403, "AccessDenied");
        }
        let (_shared, _alone);
        if writes {
            _alone = self.gate.write().await;
        } else {
            _shared = self.gate.read().await;
        }
        let request: HttpRequest = request.map(Body::from);
        self.service.call(request).await.unwrap_or_else(|failure| panic!("{failure:?}"))
    }
}

async fn reset(cut: &Notify) -> HttpResponse {
    cut.notify_one();
    std::future::pending().await
}

fn error(status: u16, code: &str) -> HttpResponse {
    error_saying(status, code, "as the test wants it")
}

fn error_saying(status: u16, code: &str, message: &str) -> HttpResponse {
    let body = format!(
        "<?xml version=\"1.0\" \
         encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = HttpResponse::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

async fn changed(mut response: HttpResponse, change: Change) -> HttpResponse {
    match change {
        Change::NoLength => {
            let (mut parts, mut body) = response.into_parts();
            parts.headers.remove(CONTENT_LENGTH);
            let bytes = body.store_all_limited(64 << 20).await.unwrap();
            let body = Half { first: Some(bytes), pause: None, cut: None }.into_body();
            return HttpResponse::from_parts(parts, body);
        }
        Change::WeakTag => {
            if let Some(tag) = response.headers().get(ETAG) {
                let weak = format!("W/{}", tag.to_str().unwrap());
                response.headers_mut().insert(ETAG, weak.parse().unwrap());
            }
        }
        Change::Header(name, value) => {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        Change::Twice(name) => {
            if let Some(value) = response.headers().get(name).cloned() {
                response.headers_mut().append(name, value);
            }
        }
        Change::Without(name) => {
            response.headers_mut().remove(name);
        }
    }
    response
}

/// Damages the body of an answer. The headers still describe the whole body.
async fn spoil(response: HttpResponse, fault: &Fault, cut: &Arc<Notify>) -> HttpResponse {
    let (mut parts, mut body) = response.into_parts();
    let bytes = body.store_all_limited(64 << 20).await.unwrap();
    assert!(!bytes.is_empty(), "there is no body to spoil in {parts:?}");
    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let half = bytes.slice(..bytes.len() / 2);
    let body = match fault {
        Fault::Flip => {
            let mut bytes = bytes.to_vec();
            bytes[half.len()] ^= 1;
            Body::from(bytes)
        }
        Fault::Truncate => Half { first: Some(half), pause: None, cut: None }.into_body(),
        _ => Half { first: Some(half), pause: None, cut: Some(cut.clone()) }.into_body(),
    };
    HttpResponse::from_parts(parts, body)
}

/// The first half of a body, followed by its end or by a reset.
struct Half {
    first: Option<Bytes>,
    /// Lets the server send the head and the first half before the end. Otherwise it might drop
    /// them.
    pause: Option<Pin<Box<Sleep>>>,
    cut: Option<Arc<Notify>>,
}

impl Half {
    fn into_body(self) -> Body {
        Body::from(Box::pin(self) as s3s::stream::DynByteStream)
    }
}

impl Stream for Half {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(bytes) = self.first.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let pause = || Box::pin(tokio::time::sleep(Duration::from_millis(50)));
        if self.pause.get_or_insert_with(pause).as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let Some(cut) = &self.cut else { return Poll::Ready(None) };
        // The connection is about to go away, so nobody wakes this task.
        cut.notify_one();
        Poll::Pending
    }
}

impl ByteStream for Half {}
