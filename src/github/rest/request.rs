//! Requests to GitHub's API: single requests, their faults, and lists page by page.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use octocrab::Octocrab;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::github::http;
use crate::retry::{Failure, Outlook, Policy};
use crate::sanitize;

/// For requests that meet a fault of the server. Each attempt at an unreachable host costs a
/// timeout, so the patience is short.
pub(super) const RETRY: Policy = Policy {
    attempts: 3,
    pause: Duration::from_millis(400),
    growth: 2.0,
    patience: Duration::from_secs(5),
    ..Policy::ONCE
};
/// The longest pause that a server may demand. A longer demand fails the request.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The hint after too many requests.
const LIMITED: &str =
    "try again later, or set another `github-token`; the rate limit of this token is used up";
/// The client reads at most this many pages of a list.
const MAX_PAGES: u32 = 10;
const PAGE: u32 = 100;
/// The client reads at most this many items of a list. A run has at most 500 artifacts a job.
pub const MAX_ITEMS: usize = (MAX_PAGES * PAGE) as usize;
/// The largest accepted answer, in bytes. A page of a list has a few megabytes at most.
pub(super) const MAX_ANSWER: usize = 32 << 20;

/// The API of one server, with one token.
#[derive(Clone, Debug)]
pub struct Rest {
    api: Octocrab,
    pub(super) http: reqwest::Client,
    advice: &'static Advice,
}

/// The hints whose remedy depends on the question.
#[derive(Debug)]
pub(super) struct Advice {
    /// The hint after the status 403.
    pub(super) refused: &'static str,
    /// The hint after the status 404.
    pub(super) missing: &'static str,
}

/// The hints for questions about runs, artifacts and merges.
const RUNS: Advice = Advice {
    refused: "grant `actions: read` on that repository to the `github-token`, and for `promote` \
              also `contents: read` and `pull-requests: read`",
    missing: "check `repository` and `run-id`; a job's own token cannot read other private \
              repositories",
};

/// The names and values of a query.
pub(super) type Query<'a> = [(&'a str, &'a str)];

/// A request, with its route.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    /// Reads something.
    Get(&'a str, &'a Query<'a>),
    /// Creates something from a document.
    Post(&'a str, &'a Value),
    /// Changes something to the fields of a document.
    Patch(&'a str, &'a Value),
}

impl Rest {
    /// Returns a client for the server at `url`, such as `https://api.github.com`.
    ///
    /// # Errors
    /// - The URL or the token is malformed.
    /// - The HTTP client cannot start.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let shown = || sanitize::address(url);
        let no_url = || {
            Error::bad_input(format!(
                "`{}` is not the base URL of a GitHub API (GITHUB_API_URL)",
                shown()
            ))
        };
        // octocrab panics if the URL or the token is malformed.
        if !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(no_url());
        }
        if !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Error::bad_input(
                "`github-token` contains characters that no token has, such as a line end",
            ));
        }
        let http = http::client()?;
        let api = Octocrab::builder()
            .base_uri(url)
            .map_err(|_| no_url())?
            .personal_token(token.to_owned())
            .build_with_reqwest(http.clone())
            .map_err(|error| {
                Error::failed("cannot start a client for the GitHub API").caused_by(error)
            })?;
        Ok(Self { api, http, advice: &RUNS })
    }

    /// Returns this client with other hints.
    pub(super) fn advised(&self, advice: &'static Advice) -> Self {
        Self { advice, ..self.clone() }
    }

    /// Reads a list that must be complete.
    pub(super) async fn all<I: DeserializeOwned>(
        &self,
        route: &str,
        query: &Query<'_>,
    ) -> Result<Vec<I>> {
        let found = self.pages(route, query, |answer| answer).await?;
        if found.len() >= MAX_ITEMS {
            return Err(Error::failed(format!(
                "cannot read {route}: it has {MAX_ITEMS} items or more"
            )));
        }
        Ok(found)
    }

    /// Reads a list page by page, up to [`MAX_ITEMS`].
    pub(super) async fn pages<T: DeserializeOwned, I>(
        &self,
        route: &str,
        query: &Query<'_>,
        items: fn(T) -> Vec<I>,
    ) -> Result<Vec<I>> {
        let mut found = Vec::new();
        for page in 1..=MAX_PAGES {
            let (size, page) = (PAGE.to_string(), page.to_string());
            let query = [query, &[("per_page", &*size), ("page", &*page)]].concat();
            let page = items(self.get(route, &query).await?);
            let is_last = page.len() < PAGE as usize;
            found.extend(page);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &Query<'_>,
    ) -> Result<T> {
        Ok(self.request(route, query).await?)
    }

    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &Query<'_>,
    ) -> std::result::Result<T, Fault> {
        let what = format!("read {route}");
        let call = Call::Get(route, query);
        let answer = RETRY.run(|| self.answer(&what, call, MAX_ANSWER)).await?;
        let answer = answer.checked(&what)?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            let unknown = Error::failed(format!(
                "cannot {what}: the answer of the GitHub API has an unknown form"
            ));
            // serde's message quotes values of the answer, which may be long.
            Fault::Failed(unknown.caused_by(Error::failed(sanitize::message(&error.to_string()))))
        })
    }

    /// Sends a request once. A fault of the server itself may pass.
    pub(super) async fn answer(&self, what: &str, call: Call<'_>, limit: usize) -> Attempt<Answer> {
        let unreachable = |error: &dyn std::error::Error| {
            let reason = http::root_cause(error);
            Failure::passing(Fault::Unreachable(Error::failed(format!(
                "cannot {what}: the GitHub API cannot be reached: {reason}"
            ))))
        };
        let answer = match call {
            Call::Get(route, query) => self.api._get(with_query(route, query)).await,
            Call::Post(route, document) => self.api._post(route, Some(document)).await,
            Call::Patch(route, document) => self.api._patch(route, Some(document)).await,
        };
        let (head, body) = answer.map_err(|error| unreachable(&error))?.into_parts();
        let body = http_body_util::Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                let too_large = format!("cannot {what}: the answer has more than {limit} bytes");
                Failure::from(Fault::Failed(Error::failed(too_large)))
            } else {
                unreachable(&*error)
            }
        })?;
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes().to_vec(),
            advice: self.advice,
        };
        let outlook = match (answer.status, answer.pause()) {
            (500.., _) => Outlook::MayPass,
            (403 | 429, Some(pause)) if pause <= LONGEST_WAIT => Outlook::MayPassAfter(pause),
            // 429 without `retry-after`.
            (429, None) if !answer.is_exhausted() => Outlook::MayPass,
            _ => return Ok(answer),
        };
        Err(Failure { why: Fault::Failed(answer.explain(what)), outlook })
    }
}

/// Appends a query to a route.
fn with_query(route: &str, query: &Query<'_>) -> String {
    if query.is_empty() {
        return route.to_owned();
    }
    // The base does not matter, because the code takes only the query.
    let encoded = Url::parse_with_params("http://base/", query).ok();
    format!("{route}?{}", encoded.as_ref().and_then(Url::query).unwrap_or_default())
}

/// The result of a single request.
pub(super) type Attempt<T> = std::result::Result<T, Failure<Fault>>;

/// The reason why a request has no usable answer.
pub(super) enum Fault {
    /// The server did not answer.
    Unreachable(Error),
    /// The object does not exist, or the token cannot see it (404).
    Missing(Error),
    /// The token has no right to the object (401, 403), or the object is elsewhere (3xx).
    Refused(Error),
    /// The request failed in another way.
    Failed(Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (Fault::Unreachable(error)
        | Fault::Missing(error)
        | Fault::Refused(error)
        | Fault::Failed(error)) = fault;
        error
    }
}

/// An answer of the API, good or bad. A fault of the server is no answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    advice: &'static Advice,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

impl Answer {
    /// Returns the answer if it is good.
    pub(super) fn checked(self, what: &str) -> std::result::Result<Self, Fault> {
        match self.status {
            200..=299 => Ok(self),
            404 => Err(Fault::Missing(self.explain(what))),
            403 if self.is_exhausted() => Err(Fault::Failed(self.explain(what))),
            300..=399 | 401 | 403 => Err(Fault::Refused(self.explain(what))),
            _ => Err(Fault::Failed(self.explain(what))),
        }
    }

    /// Returns an error with the API's own words and a hint.
    pub(super) fn explain(&self, what: &str) -> Error {
        let mut said = format!("cannot {what}: the GitHub API answered {}", self.status);
        if let Ok(Complaint { message }) = serde_json::from_slice(&self.body) {
            said = format!("{said}: {}", sanitize::message(&message));
        }
        let error = Error::failed(said);
        match self.status {
            429 => error.hint(LIMITED),
            403 if self.is_exhausted() => error.hint(LIMITED),
            300..=399 => error.hint(
                "check whether the repository was renamed; no redirect is followed, so that the \
                 token goes nowhere else",
            ),
            401 => error.hint(
                "set a valid `github-token`; on the command line, check GITHUB_TOKEN and GH_TOKEN \
                 as well",
            ),
            403 => error.hint(self.advice.refused),
            404 => error.hint(self.advice.missing),
            _ => error,
        }
    }

    /// Returns whether the token has no requests left for a while.
    fn is_exhausted(&self) -> bool {
        self.headers.contains_key("retry-after") || self.number("x-ratelimit-remaining") == Some(0)
    }

    /// Returns the pause that the server demands. Source: "Rate limits for the REST API" of
    /// GitHub's documentation.
    fn pause(&self) -> Option<Duration> {
        if self.headers.contains_key("retry-after") {
            return self.number("retry-after").map(Duration::from_secs);
        }
        self.number("x-ratelimit-remaining").filter(|left| *left == 0)?;
        let reset = Duration::from_secs(self.number("x-ratelimit-reset")?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(reset.saturating_sub(now))
    }

    fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }
}
