//! The results service: its address, the calls of its methods, and the meaning of its refusals.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::github::http;
use crate::retry::{Failure, Policy};
use crate::sanitize;

/// For requests that meet a fault of the service. The pauses resemble the pauses of the official
/// client. Each attempt at a silent service costs a timeout, so the patience limits them.
pub(super) const RETRY: Policy = Policy {
    attempts: 5,
    pause: Duration::from_secs(5),
    growth: 1.5,
    patience: Duration::from_secs(60),
    ..Policy::ONCE
};
pub(super) const MAX_ANSWER: usize = 4 << 20;
pub(super) const LIST: &str = "ListArtifacts";
/// The method that completes an upload.
pub(super) const FINALIZE: &str = "FinalizeArtifact";
/// The service's words for an account without free storage. The official client does not try again
/// either.
const QUOTA: &str = "insufficient usage";

/// A client of the results service, for this run.
#[derive(Clone)]
pub struct ResultsService {
    pub(super) http: Client,
    origin: String,
    token: String,
    run: String,
    job: String,
    pub(super) max_retention_days: Option<u32>,
    pub(super) is_act: bool,
    mask: fn(&str),
}

impl std::fmt::Debug for ResultsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultsService").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    scp: String,
}

/// The reason why a request has no usable answer.
pub(super) struct Refusal {
    pub(super) why: Error,
    /// Whether the name is taken, or burnt by a failed attempt. Another name may then succeed.
    pub(super) is_taken: bool,
}

impl Refusal {
    pub(super) fn new(why: Error) -> Self {
        Self { why, is_taken: false }
    }

    pub(super) fn taken(why: Error) -> Self {
        Self { why, is_taken: true }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.why
    }
}

impl ResultsService {
    /// Finds the results service of this run. The inner error says why there is none, for example
    /// on GitHub Enterprise Server.
    ///
    /// # Errors
    /// The HTTP client cannot start.
    pub fn from_environment(
        environment: &Environment,
        mask: fn(&str),
    ) -> Result<std::result::Result<Self, String>> {
        if let Some(server) =
            environment.get("GITHUB_SERVER_URL").filter(|server| is_enterprise_server(server))
        {
            let server = sanitize::address(server);
            return Ok(Err(format!(
                "GitHub Enterprise Server ({server}) does not support artifacts of version 4"
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
            return Ok(Err("ACTIONS_RESULTS_URL is not a URL".to_owned()));
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

    /// Calls a method. Adds the ids of run and job if the request does not have them.
    pub(super) async fn call<T: DeserializeOwned>(
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
                let why = "this run already has an artifact of this name";
                return Err(Refusal::taken(Error::failed(why)).into());
            }
            if !status.is_success() {
                return Err(refused_call(method, status, &body));
            }
            // The message leaves out serde's reason, which quotes values: a signed URL is a
            // credential.
            serde_json::from_slice(&body).map_err(|_| {
                Failure::passing(Refusal::new(Error::failed(format!(
                    "{method} failed: the answer of the results service has an unknown form"
                ))))
            })
        })
        .await
    }

    /// Sends a request until `understand` accepts an answer, or until a failure lasts. [`RETRY`]
    /// limits the attempts.
    pub(super) async fn repeat<T>(
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
                    let pause = http::demanded_pause(response.headers());
                    http::body(response, limit).await.map(|body| (status, pause, body))
                }
                Err(error) => Err(http::broken(&error)),
            };
            let (status, pause, body) = answer.map_err(|why| {
                let unreachable = format!("cannot reach the results service ({what})");
                Failure::passing(Refusal::new(Error::failed(unreachable).caused_by(why)))
            })?;
            understand(status, body).map_err(|failure| failure.after(pause))
        };
        let attempts = if self.is_act && what == LIST { 1 } else { RETRY.attempts };
        Policy { attempts, ..RETRY }.run(attempt).await
    }

    /// Hides the signature of a signed URL, in its escaped and its plain form.
    pub(super) fn hide_signature(&self, url: &str) {
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

/// Returns whether the same request may succeed later.
pub(super) fn passes(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Interprets the failed call of a method.
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
            "delete artifacts, because they fill the account's storage; GitHub measures it every 6 \
             to 12 hours",
        );
        return Refusal::new(why).into();
    }
    let (code, finalizes) = (status.as_u16(), method == FINALIZE);
    // An artifact that cannot be finalized exists all the same, and no client can see or remove it.
    // So only another name helps, unless the service refuses the token or is down.
    let is_taken = finalizes && matches!(code, 400 | 403..=428);
    // GitHub's front end answers 403 to some finalize calls while the blob has not settled.
    Failure::passing_if(passes(status) || finalizes && code == 403, Refusal { why, is_taken })
}

/// Returns scheme, host and port of a URL.
fn origin(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// Returns whether the official client refuses the server. Source: `isGhes` of @actions/artifact.
fn is_enterprise_server(server: &str) -> bool {
    let host = reqwest::Url::parse(server)
        .ok()
        .and_then(|url| url.host_str().map(str::to_lowercase))
        .unwrap_or_default();
    !(host == "github.com" || host.ends_with(".ghe.com") || host.ends_with(".localhost"))
}

/// Reads the ids of run and job from the token's claims. Only the service can check the token's
/// signature.
///
/// Source: `getBackendIdsFromToken` of @actions/artifact.
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
