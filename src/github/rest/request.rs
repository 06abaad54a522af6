//! Asking GitHub's API: one request, its faults, and lists page by page.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use octocrab::Octocrab;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::github::http;
use crate::retry::{Failure, Outlook, Policy};
use crate::sanitize;

/// For requests that meet a fault of the server. A host that cannot be reached costs a timeout
/// every time.
pub(super) const RETRY: Policy = Policy {
    attempts: 3,
    pause: Duration::from_millis(400),
    growth: 2.0,
    patience: Duration::from_secs(5),
};
/// A server that wants to be left alone for longer than that has its way: the work fails.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What helps whoever has asked too often.
const LIMITED: &str =
    "try again later, or set another `github-token`; the rate limit of this token is used up";
/// A list is read so far.
const MAX_PAGES: u32 = 10;
const PAGE: u32 = 100;
/// Artifacts of one run that are looked at; a run cannot have more than 500 a job.
pub const MAX_ITEMS: usize = (MAX_PAGES * PAGE) as usize;
/// A page of a list has a few megabytes at most.
const MAX_ANSWER: usize = 32 << 20;

/// The API of one server with one token.
#[derive(Clone, Debug)]
pub struct Rest {
    api: Octocrab,
    pub(super) http: reqwest::Client,
}

/// Names and values behind the `?` of a route.
pub(super) type Query<'a> = [(&'a str, &'a str)];

impl Rest {
    /// Prepares for the server at `url`, such as `https://api.github.com`.
    ///
    /// # Errors
    /// A URL or token that cannot be used.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let shown = || sanitize::address(url);
        let no_url = || {
            Error::bad_input(format!(
                "`{}` is not the base URL of a GitHub API (GITHUB_API_URL)",
                shown()
            ))
        };
        // octocrab takes both for granted, and panics.
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
        Ok(Self { api, http })
    }

    /// Reads a list of which nothing may be missing.
    pub(super) async fn all<I: DeserializeOwned>(
        &self,
        route: &str,
        query: &Query<'_>,
    ) -> Result<Vec<I>> {
        let found = self.pages(route, query, |answer| answer).await?;
        if found.len() >= MAX_ITEMS {
            return Err(Error::failed(format!(
                "cannot read {route}: it has more than {MAX_ITEMS} items"
            )));
        }
        Ok(found)
    }

    /// Reads a list, page by page.
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
        let answer = RETRY.run(|| self.answer(&what, route, query, MAX_ANSWER)).await?;
        match answer.status {
            200..=299 => serde_json::from_slice(&answer.body).map_err(|error| {
                let unknown = Error::failed(format!(
                    "cannot {what}: the answer of the GitHub API has an unknown form"
                ));
                // It repeats values of the answer, however long they are.
                Fault::Failed(
                    unknown.caused_by(Error::failed(sanitize::message(&error.to_string()))),
                )
            }),
            404 => Err(Fault::Missing(answer.explain(&what))),
            403 if answer.is_exhausted() => Err(Fault::Failed(answer.explain(&what))),
            300..=399 | 401 | 403 => Err(Fault::Refused(answer.explain(&what))),
            _ => Err(Fault::Failed(answer.explain(&what))),
        }
    }

    /// Asks once; what the server itself fails at may pass.
    pub(super) async fn answer(
        &self,
        what: &str,
        route: &str,
        query: &Query<'_>,
        limit: usize,
    ) -> Attempt<Answer> {
        let unreachable = |error: &dyn std::error::Error| {
            let reason = http::root_cause(error);
            Failure::passing(Fault::Unreachable(Error::failed(format!(
                "cannot {what}: the GitHub API cannot be reached: {reason}"
            ))))
        };
        let answer =
            self.api._get(with_query(route, query)).await.map_err(|error| unreachable(&error))?;
        let (head, body) = answer.into_parts();
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
        };
        let outlook = match (answer.status, answer.pause()) {
            (500.., _) => Outlook::MayPass,
            (403 | 429, Some(pause)) if pause <= LONGEST_WAIT => Outlook::MayPassAfter(pause),
            // It does not say for how long.
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
    // Any base does: only what is behind the `?` is taken.
    let encoded = Url::parse_with_params("http://base/", query).ok();
    format!("{route}?{}", encoded.as_ref().and_then(Url::query).unwrap_or_default())
}

/// What came of asking once.
pub(super) type Attempt<T> = std::result::Result<T, Failure<Fault>>;

/// Why there is nothing to work with.
pub(super) enum Fault {
    /// There was no answer.
    Unreachable(Error),
    /// There is no such thing for this token.
    Missing(Error),
    /// It is not for this token, or elsewhere.
    Refused(Error),
    /// Anything else.
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

/// An answer of the API, good or bad, but not of a server that fails.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

impl Answer {
    /// Says what the API said, and what would help.
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
            403 => error.hint(
                "grant `actions: read` on that repository to the `github-token`, and for `promote` \
                 also `contents: read` and `pull-requests: read`",
            ),
            404 => error.hint(
                "check `repository` and `run-id`; a job's own token cannot read other private \
                 repositories",
            ),
            _ => error,
        }
    }

    /// Whether the token may ask for nothing more for a while.
    fn is_exhausted(&self) -> bool {
        self.headers.contains_key("retry-after") || self.number("x-ratelimit-remaining") == Some(0)
    }

    /// Returns how long the server wants to be left alone.
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
