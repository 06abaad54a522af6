//! Artifacts of the running workflow run, through the results service.
//!
//! The protocol is Twirp with JSON bodies. Source: npm's @actions/artifact 6, whose requests were
//! recorded; version 4 of the artifact format, which every service and client understands.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{archive, http};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::format::ZipId;
use crate::format::artifact::is_of;
use crate::retry::{Failure, Policy};
use crate::sanitize;

/// For requests that meet a fault of the service; the pauses are about those of the official
/// client. A service that does not answer costs a timeout every time.
const RETRY: Policy = Policy {
    attempts: 5,
    pause: Duration::from_secs(5),
    growth: 1.5,
    patience: Duration::from_secs(60),
};
/// For names of one artifact: another one is tried at once.
const NAMES: Policy = Policy { attempts: 3, pause: Duration::ZERO, ..RETRY };
const MAX_ANSWER: usize = 4 << 20;
/// The method that lists artifacts.
const LIST: &str = "ListArtifacts";
/// The method that ends an upload.
const FINALIZE: &str = "FinalizeArtifact";
/// What the service says where there is no room left; the official client asks no more either.
const QUOTA: &str = "insufficient usage";

/// The results service of this run.
pub struct ResultsService {
    http: Client,
    origin: String,
    token: String,
    run: String,
    job: String,
    max_retention_days: Option<u32>,
    is_act: bool,
    mask: fn(&str),
}

impl std::fmt::Debug for ResultsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultsService").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// An artifact that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its name, which may have got a suffix.
    pub name: String,
    /// Its number.
    pub id: String,
    /// SHA-256 of the zip.
    pub digest: ZipId,
}

/// An artifact of this run.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Its name.
    #[serde(default)]
    pub name: String,
    #[serde(default, alias = "databaseId", deserialize_with = "number_or_text")]
    database_id: String,
    #[serde(default, alias = "workflowRunBackendId")]
    workflow_run_backend_id: String,
    #[serde(default, alias = "workflowJobRunBackendId")]
    workflow_job_run_backend_id: String,
    #[serde(default, deserialize_with = "number_or_text")]
    size: String,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Finalized {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "artifactId", deserialize_with = "number_or_text")]
    artifact_id: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    artifacts: Vec<Entry>,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(default, alias = "signedUrl")]
    signed_url: String,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    scp: String,
}

/// What came instead of an answer that can be used.
struct Refusal {
    why: Error,
    /// The name is taken, or burnt by a failed attempt: another one may do.
    is_taken: bool,
}

impl Refusal {
    fn new(why: Error) -> Self {
        Self { why, is_taken: false }
    }

    fn taken(why: Error) -> Self {
        Self { why, is_taken: true }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.why
    }
}

impl ResultsService {
    /// Finds the service of this run; the reason where there is none, such as on GHES.
    ///
    /// # Errors
    /// No certificate store to be found.
    pub fn from_environment(
        environment: &Environment,
        mask: fn(&str),
    ) -> Result<std::result::Result<Self, String>> {
        if let Some(server) =
            environment.get("GITHUB_SERVER_URL").filter(|server| is_enterprise_server(server))
        {
            let server = sanitize::address(server);
            return Ok(Err(format!(
                "GitHub Enterprise Server ({server}) has no artifacts of this version"
            )));
        }
        let (Some(url), Some(token)) =
            (environment.get("ACTIONS_RESULTS_URL"), environment.get("ACTIONS_RUNTIME_TOKEN"))
        else {
            return Ok(Err(
                "this job has no results service (ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN)"
                    .to_owned(),
            ));
        };
        let Some(origin) = origin(url) else {
            return Ok(Err("ACTIONS_RESULTS_URL is no URL".to_owned()));
        };
        let Some((run, job)) = backend_ids(token) else {
            return Ok(Err("ACTIONS_RUNTIME_TOKEN names no run of the results service".to_owned()));
        };
        let max_retention_days = environment
            .get("GITHUB_RETENTION_DAYS")
            .and_then(|days| days.parse().ok())
            .filter(|days| *days > 0);
        Ok(Ok(Self {
            http: http::client()?,
            origin,
            token: token.to_owned(),
            run,
            job,
            max_retention_days,
            is_act: environment.is_true("ACT"),
            mask,
        }))
    }

    /// Uploads a pointer under the name, or under the name with a suffix where it is taken.
    ///
    /// # Errors
    /// A service that refuses or cannot be reached.
    pub async fn upload(
        &self,
        name: &str,
        pointer: &[u8],
        retention_days: Option<u32>,
    ) -> Result<Uploaded> {
        let zip = archive::pack(pointer)?;
        let digest = ZipId::of(&zip);
        let mut candidate = name.to_owned();
        let attempt = || {
            // A failed attempt burns its name for the rest of the run, so the next one is new. So
            // does an attempt whose answer was lost; readers take either of the two artifacts.
            let other = format!("{name}-{:08x}", rand::random::<u32>());
            let name = std::mem::replace(&mut candidate, other);
            let (zip, digest) = (&zip, digest);
            async move {
                match self.upload_as(&name, zip, &digest, retention_days).await {
                    Ok(id) => Ok(Uploaded { name, id, digest }),
                    Err(refusal) => Err(Failure::passing_if(refusal.is_taken, refusal)),
                }
            }
        };
        NAMES.run(attempt).await.map_err(|refusal| match refusal.is_taken {
            true => Error::failed(format!(
                "cannot upload the artifact `{name}`: no name that was tried is free"
            ))
            .caused_by(refusal.why),
            false => refusal.why,
        })
    }

    async fn upload_as(
        &self,
        name: &str,
        zip: &[u8],
        digest: &ZipId,
        retention_days: Option<u32>,
    ) -> std::result::Result<String, Refusal> {
        let mut request = json!({ "name": name, "version": 4 });
        let days =
            retention_days.map(|days| self.max_retention_days.map_or(days, |most| days.min(most)));
        let expires = days.and_then(|days| {
            Timestamp::now().checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok()
        });
        if let Some(expires) = expires {
            request["expires_at"] = json!(expires.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string());
        }
        let created: Created = self.call("CreateArtifact", request).await?;
        if !created.ok || created.signed_upload_url.is_empty() {
            return Err(Refusal::new(Error::failed("the results service accepted no artifact")));
        }
        self.hide_signature(&created.signed_upload_url);
        self.put_blob(&created.signed_upload_url, zip).await?;
        let request =
            json!({ "name": name, "size": zip.len().to_string(), "hash": digest.to_string() });
        let finalized: Finalized = self.call(FINALIZE, request).await?;
        if !finalized.ok {
            return Err(Refusal::taken(Error::failed(format!(
                "the results service did not accept `{name}` in the end"
            ))));
        }
        Ok(finalized.artifact_id)
    }

    /// Returns the run's artifacts, all of them or those of one name.
    async fn list(&self, name: Option<&str>) -> Result<Vec<Entry>> {
        let request = name.map_or_else(|| json!({}), |name| json!({ "name_filter": name }));
        match self.call::<Listed>(LIST, request).await {
            Ok(listed) => Ok(listed.artifacts),
            // act's server resets the connection as long as there is no artifact at all.
            Err(_) if self.is_act => Ok(Vec::new()),
            Err(refusal) => Err(refusal.why),
        }
    }

    /// Downloads the pointer in the newest artifact that has the name, or the name and a suffix.
    ///
    /// # Errors
    /// No such artifact; an artifact that holds no pointer; a service that refuses.
    pub async fn download(&self, name: &str) -> Result<Vec<u8>> {
        // The service filters by whole names only, and a run may have more artifacts than one
        // answer can hold.
        let mut found = self.list(Some(name)).await?;
        if !found.iter().any(|entry| entry.name == name) {
            found = self.list(None).await?;
        }
        found.retain(|entry| is_of(&entry.name, name));
        found.sort_by_key(|entry| {
            (entry.name == name, entry.database_id.parse::<u64>().unwrap_or(0))
        });
        let Some(entry) = found.pop() else {
            return Err(Error::not_found(format!("this run has no artifact `{name}`")));
        };
        if entry.size.parse::<usize>().is_ok_and(|size| size > archive::MAX_BYTES) {
            return Err(Error::failed(format!(
                "the artifact `{}` is too large to hold a pointer",
                entry.name
            )));
        }
        let request = json!({
            "workflow_run_backend_id": entry.workflow_run_backend_id,
            "workflow_job_run_backend_id": entry.workflow_job_run_backend_id,
            "name": entry.name,
        });
        let signed: Signed = self.call("GetSignedArtifactURL", request).await?;
        self.hide_signature(&signed.signed_url);
        // The URL carries its own credential; the runtime token must not go along.
        let get = || self.http.get(&signed.signed_url);
        let zip = self
            .repeat("download", archive::MAX_BYTES, get, |status, body| match status.is_success() {
                true => Ok(body),
                false => {
                    let why = format!("cannot download the artifact `{name}`: {status}");
                    Err(Failure::passing_if(passes(status), Refusal::new(Error::failed(why))))
                }
            })
            .await?;
        archive::unpack(&zip)
    }

    /// One block and its list: services other than GitHub's store nothing otherwise.
    async fn put_blob(&self, url: &str, zip: &[u8]) -> std::result::Result<(), Refusal> {
        let block = STANDARD.encode(format!("{:032x}", rand::random::<u128>()));
        let encoded = block.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        // The signature must stay exactly as it was given, so the query is only appended to.
        let put = |query: String, kind: &'static str, body: Vec<u8>| {
            let request =
                self.http.put(format!("{url}&{query}")).header("x-ms-version", "2021-12-02");
            let request = request.header("Content-Type", kind).body(body);
            if kind == "application/xml" {
                request.header("x-ms-blob-content-type", "application/zip")
            } else {
                request
            }
        };
        let list = format!(
            "<?xml version=\"1.0\" \
             encoding=\"utf-8\"?><BlockList><Latest>{block}</Latest></BlockList>"
        );
        for (query, kind, body) in [
            (format!("comp=block&blockid={encoded}"), "application/octet-stream", zip.to_vec()),
            ("comp=blocklist".to_owned(), "application/xml", list.into_bytes()),
        ] {
            let put = || put(query.clone(), kind, body.clone());
            self.repeat("upload", MAX_ANSWER, put, |status, _| match status.is_success() {
                true => Ok(()),
                false => {
                    let why = format!("cannot upload the artifact: its storage answered {status}");
                    Err(Failure::passing_if(passes(status), Refusal::new(Error::failed(why))))
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Calls a method; the run's ids are added unless the request has its own.
    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        mut request: Value,
    ) -> std::result::Result<T, Refusal> {
        let url =
            format!("{}/twirp/github.actions.results.api.v1.ArtifactService/{method}", self.origin);
        for (field, id) in
            [("workflow_run_backend_id", &self.run), ("workflow_job_run_backend_id", &self.job)]
        {
            if request.get(field).is_none() {
                request[field] = json!(id);
            }
        }
        let post = || self.http.post(&url).bearer_auth(&self.token).json(&request);
        self.repeat(method, MAX_ANSWER, post, |status, body| {
            if status == StatusCode::CONFLICT {
                let why = "an artifact of this name exists in this run already";
                return Err(Refusal::taken(Error::failed(why)).into());
            }
            if !status.is_success() {
                return Err(refused_call(method, status, &body));
            }
            // Not with the reason: it would repeat values, and a signed URL is one.
            serde_json::from_slice(&body).map_err(|_| {
                Failure::passing(Refusal::new(Error::failed(format!(
                    "{method} failed: the answer is not of the known form"
                ))))
            })
        })
        .await
    }

    /// Sends a request until its whole answer is read and understood, or meets no passing fault.
    async fn repeat<T>(
        &self,
        what: &str,
        limit: usize,
        request: impl Fn() -> RequestBuilder,
        understand: impl Fn(StatusCode, Vec<u8>) -> std::result::Result<T, Failure<Refusal>>,
    ) -> std::result::Result<T, Refusal> {
        let attempt = || async {
            let answer = match request().send().await {
                Ok(response) => {
                    let status = response.status();
                    http::body(response, limit).await.map(|body| (status, body))
                }
                Err(error) => Err(http::broken(&error)),
            };
            let (status, body) = answer.map_err(|why| {
                let unreachable = format!("cannot reach the results service ({what})");
                Failure::passing(Refusal::new(Error::failed(unreachable).caused_by(why)))
            })?;
            understand(status, body)
        };
        let attempts = if self.is_act && what == LIST { 1 } else { RETRY.attempts };
        Policy { attempts, ..RETRY }.run(attempt).await
    }

    /// Hides the credential in a signed URL, as it stands there and decoded.
    fn hide_signature(&self, url: &str) {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        if let Some(signature) = query.split('&').find_map(|pair| pair.strip_prefix("sig=")) {
            (self.mask)(signature);
        }
        let decoded = reqwest::Url::parse(url).ok();
        let decoded =
            decoded.as_ref().and_then(|url| url.query_pairs().find(|(name, _)| name == "sig"));
        if let Some((_, signature)) = decoded {
            (self.mask)(&signature);
        }
    }
}

/// Whether an answer other than success may be another one later.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Returns what an answer other than success means to a method's call.
fn refused_call(method: &str, status: StatusCode, body: &[u8]) -> Failure<Refusal> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = said
        .get("msg")
        .and_then(Value::as_str)
        .map_or_else(|| "no reason given".to_owned(), sanitize::message);
    let why =
        Error::failed(format!("{method} failed: the results service answered {status}: {said}"));
    if String::from_utf8_lossy(body).contains(QUOTA) {
        let why = why.hint(
            "the account's storage for artifacts is used up, which GitHub counts every 6 to 12 \
             hours",
        );
        return Refusal::new(why).into();
    }
    let (code, finalizes) = (status.as_u16(), method == FINALIZE);
    // What cannot be finalized exists all the same, and cannot be seen or removed: only another
    // name helps, unless the token is refused or the service is down.
    let is_taken = finalizes && matches!(code, 400 | 403..=428);
    // GitHub's front answers 403 to some finalize calls whose blob has not settled.
    Failure::passing_if(passes(status) || finalizes && code == 403, Refusal { why, is_taken })
}

/// Returns scheme, host and port.
fn origin(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// Whether the official client would refuse the server.
fn is_enterprise_server(server: &str) -> bool {
    let host = reqwest::Url::parse(server)
        .ok()
        .and_then(|url| url.host_str().map(str::to_lowercase))
        .unwrap_or_default();
    !(host == "github.com" || host.ends_with(".ghe.com") || host.ends_with(".localhost"))
}

/// Reads the ids of run and job from the token's claims; its signature is the service's business.
fn backend_ids(token: &str) -> Option<(String, String)> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&bytes).ok()?;
    claims.scp.split(' ').find_map(|scope| {
        let mut parts = scope.strip_prefix("Actions.Results:")?.split(':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(run), Some(job), None) => Some((run.to_owned(), job.to_owned())),
            _ => None,
        }
    })
}

/// Protocol buffers put 64-bit integers into JSON as text; some servers use numbers.
fn number_or_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn ids_come_from_the_token() {
        let good = token(r#"{"scp":"Actions.Other:x Actions.Results:ce7f54c7:ca395085"}"#);
        assert_eq!(backend_ids(&good), Some(("ce7f54c7".into(), "ca395085".into())));
        for bad in [
            "",
            "a.b",
            &token("{}"),
            &token(r#"{"scp":"Actions.Results:1"}"#),
            &token(r#"{"scp":"Actions.Results:1:2:3"}"#),
        ] {
            assert_eq!(backend_ids(bad), None, "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_answers_is_left() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let service = ResultsService {
            http: http::client().unwrap(),
            origin: format!("http://{}", silent.local_addr().unwrap()),
            token: String::new(),
            run: String::new(),
            job: String::new(),
            max_retention_days: None,
            is_act: false,
            mask: |_| (),
        };
        let started = tokio::time::Instant::now();
        let error = service.upload("name", b"{}", None).await.unwrap_err();
        assert!(error.explanation().contains("no answer in time"), "{}", error.explanation());
        assert!(started.elapsed() < 2 * RETRY.patience, "{:?}", started.elapsed());
    }

    #[test]
    fn servers_are_told_apart() {
        for (server, enterprise) in [
            ("https://github.com", false),
            ("https://acme.ghe.com", false),
            ("https://github.acme.com", true),
            ("https://evil-github.com", true),
            ("nonsense", true),
        ] {
            assert_eq!(is_enterprise_server(server), enterprise, "{server}");
        }
        assert_eq!(
            origin("https://results.example:8443/path/?q").as_deref(),
            Some("https://results.example:8443")
        );
    }
}
