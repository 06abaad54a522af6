//! GitHub's REST API, through octocrab; the only module that knows it.
//!
//! The response types are our own: octocrab's lack fields that trust depends on, and take others
//! for always present that may be null.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use octocrab::Octocrab;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{archive, http};
use crate::error::{Error, Result};

/// A request that meets a fault of the server is made so often.
const TRIES: u32 = 3;
/// The longest pause before the first repetition.
const PAUSE: Duration = Duration::from_millis(400);
/// Later than this nothing is repeated: a host that cannot be reached costs a timeout every time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A list is read so far.
const MAX_PAGES: u32 = 10;
const PAGE: u32 = 100;
/// Artifacts of one run that are looked at; a run cannot have more than 500 a job.
pub const MAX_ITEMS: usize = (MAX_PAGES * PAGE) as usize;
/// An error message of the API is told up to this length; a server in between may answer whole pages.
const MAX_MESSAGE: usize = 500;

/// The API of one server with one token.
#[derive(Clone, Debug)]
pub struct Rest {
    api: Octocrab,
    http: reqwest::Client,
}

/// A repository.
#[derive(Clone, Debug, Deserialize)]
pub struct Repository {
    /// Its number.
    pub id: u64,
    /// Its default branch.
    pub default_branch: String,
}

/// A workflow run, as far as trust needs it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// The event that caused it.
    #[serde(default)]
    pub event: String,
    /// The branch it ran for.
    pub head_branch: Option<String>,
    /// The commit it ran for.
    #[serde(default)]
    pub head_sha: String,
    /// `success` where it ended well.
    pub conclusion: Option<String>,
    /// The workflow file.
    pub path: Option<String>,
    /// The repository that it belongs to.
    pub repository: Option<RepositoryId>,
    /// The repository whose code it ran.
    pub head_repository: Option<RepositoryId>,
    /// The workflow files that its own file calls.
    #[serde(default)]
    pub referenced_workflows: Vec<ReferencedWorkflow>,
}

/// A workflow file that another one calls.
#[derive(Clone, Debug, Deserialize)]
pub struct ReferencedWorkflow {
    /// `owner/repo/path@ref`.
    pub path: String,
}

/// A pull request, as far as trust needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// When it was merged, if it was.
    pub merged_at: Option<String>,
    /// The commit that merged it; before that, a trial.
    pub merge_commit_sha: Option<String>,
    /// Where it goes.
    pub base: Side,
    /// Where it comes from.
    pub head: Side,
}

/// One end of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct Side {
    /// The branch.
    #[serde(rename = "ref")]
    pub name: String,
    /// Its commit.
    pub sha: String,
    /// Its repository; null where that is gone.
    pub repo: Option<RepositoryId>,
}

/// A repository by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RepositoryId {
    /// Its number.
    pub id: u64,
}

/// An artifact.
#[derive(Clone, Debug, Deserialize)]
pub struct Artifact {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Size of the zip in bytes.
    #[serde(default)]
    pub size_in_bytes: u64,
    /// Whether its bytes are gone.
    #[serde(default)]
    pub expired: bool,
}

#[derive(Deserialize)]
struct Artifacts {
    #[serde(default)]
    artifacts: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Runs {
    #[serde(default)]
    workflow_runs: Vec<Run>,
}

#[derive(Deserialize)]
struct File {
    sha: String,
}

#[derive(Deserialize)]
struct Commit {
    commit: CommitText,
}

#[derive(Deserialize)]
struct CommitText {
    message: String,
}

impl Rest {
    /// Prepares for the server at `url`, such as `https://api.github.com`.
    ///
    /// # Errors
    /// A URL or token that cannot be used.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let no_url = || Error::bad_input(format!("`{url}` is no base URL of a GitHub API (GITHUB_API_URL)"));
        // octocrab takes both for granted, and panics.
        if !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(no_url());
        }
        if HeaderValue::from_str(token).is_err() {
            return Err(Error::bad_input("`github-token` holds characters that no token has, such as a line end"));
        }
        let http = http::client()?;
        let api = Octocrab::builder()
            .base_uri(url)
            .map_err(|_| no_url())?
            .personal_token(token.to_owned())
            .build_with_reqwest(http.clone())
            .map_err(|error| Error::failed("cannot prepare for the GitHub API").caused_by(error))?;
        Ok(Self { api, http })
    }

    /// Returns a repository.
    ///
    /// # Errors
    /// A repository that does not exist for this token, or an API that fails.
    pub async fn repository(&self, repository: &str) -> Result<Repository> {
        self.get(&format!("/repos/{repository}"), &json!({})).await
    }

    /// Returns a run.
    ///
    /// # Errors
    /// A run that does not exist for this token, or an API that fails.
    pub async fn run(&self, repository: &str, run: u64) -> Result<Run> {
        self.get(&format!("/repos/{repository}/actions/runs/{run}"), &json!({})).await
    }

    /// Returns a run's artifacts, newest last.
    ///
    /// # Errors
    /// A run that does not exist for this token, or an API that fails.
    pub async fn artifacts_of_run(&self, repository: &str, run: u64) -> Result<Vec<Artifact>> {
        let route = format!("/repos/{repository}/actions/runs/{run}/artifacts");
        let mut found = self.pages(&route, json!({}), |answer: Artifacts| answer.artifacts).await?;
        found.sort_by_key(|artifact| artifact.id);
        Ok(found)
    }

    /// Returns the runs for pull requests that ended well for a commit.
    ///
    /// # Errors
    /// A repository that does not exist for this token, or an API that fails.
    pub async fn runs_of_commit(&self, repository: &str, sha: &str) -> Result<Vec<Run>> {
        let query = json!({ "head_sha": sha, "event": "pull_request", "status": "success" });
        self.pages(&format!("/repos/{repository}/actions/runs"), query, |answer: Runs| answer.workflow_runs).await
    }

    /// Returns the pull requests that have a commit, as their merge or among their own.
    ///
    /// # Errors
    /// A commit that does not exist for this token, or an API that fails.
    pub async fn pull_requests_of_commit(&self, repository: &str, sha: &str) -> Result<Vec<PullRequest>> {
        self.pages(&format!("/repos/{repository}/commits/{sha}/pulls"), json!({}), |answer| answer).await
    }

    /// Returns a commit's message.
    ///
    /// # Errors
    /// A commit that does not exist for this token, or an API that fails.
    pub async fn message_of_commit(&self, repository: &str, sha: &str) -> Result<String> {
        let answer: Commit = self.get(&format!("/repos/{repository}/commits/{sha}"), &json!({})).await?;
        Ok(answer.commit.message)
    }

    /// Returns the id that Git gives to a file's content at a commit; `None` where there is no such file.
    ///
    /// # Errors
    /// A token that may not read the repository's files, or an API that fails.
    pub async fn file_id(&self, repository: &str, path: &str, sha: &str) -> Result<Option<String>> {
        let route = format!("/repos/{repository}/contents/{path}");
        match self.request::<File>(&route, &json!({ "ref": sha })).await {
            Ok(file) => Ok(Some(file.sha)),
            Err(Failure::NotFound(_)) => Ok(None),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// Downloads an artifact and returns the pointer in it.
    ///
    /// # Errors
    /// An artifact that has expired, is too large, or holds no pointer.
    pub async fn pointer_in(&self, repository: &str, artifact: &Artifact) -> Result<Vec<u8>> {
        let failed =
            |reason: String| Error::failed(format!("cannot download the artifact `{}`: {reason}", artifact.name));
        if artifact.expired {
            return Err(failed("it has expired".to_owned()));
        }
        if artifact.size_in_bytes > archive::MAX_BYTES as u64 {
            return Err(failed(format!("it has {} bytes, too many for a pointer", artifact.size_in_bytes)));
        }
        let route = format!("/repos/{repository}/actions/artifacts/{}/zip", artifact.id);
        let answer = self.api._get(route).await.map_err(|error| explain("download the artifact", &error))?;
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        match (answer.status().as_u16(), location) {
            (301 | 302 | 303 | 307 | 308, Some(url)) => {
                // The storage has a credential of its own in the URL, and must not see the token.
                let response =
                    self.http.get(url).send().await.map_err(|error| failed(http::broken(&error).to_string()))?;
                if !response.status().is_success() {
                    return Err(failed(format!("its storage answered {}", response.status())));
                }
                archive::unpack(&http::body(response, archive::MAX_BYTES).await?)
            }
            (200, _) => {
                let limited = http_body_util::Limited::new(answer.into_body(), archive::MAX_BYTES);
                let body = limited.collect().await.map_err(|error| failed(error.to_string()))?;
                archive::unpack(&body.to_bytes())
            }
            (410, _) => Err(failed("it has expired".to_owned())),
            (status, _) => {
                let is_exhausted = is_exhausted(answer.headers());
                Err(hinted(failed(format!("the API answered {status}")), status, is_exhausted))
            }
        }
    }

    /// Reads a list, page by page.
    async fn pages<T: DeserializeOwned, I>(
        &self,
        route: &str,
        mut query: Value,
        items: fn(T) -> Vec<I>,
    ) -> Result<Vec<I>> {
        let mut found = Vec::new();
        for page in 1..=MAX_PAGES {
            query["per_page"] = PAGE.into();
            query["page"] = page.into();
            let page = items(self.get(route, &query).await?);
            let is_last = page.len() < PAGE as usize;
            found.extend(page);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn get<T: DeserializeOwned>(&self, route: &str, query: &Value) -> Result<T> {
        self.request(route, query).await.map_err(|failure| match failure {
            Failure::NotFound(error) | Failure::Other(error) => error,
        })
    }

    /// Asks until it meets no passing fault.
    async fn repeat(&self, route: &str, query: &Value) -> octocrab::Result<Value> {
        let started = Instant::now();
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.api.get(route, Some(query)).await {
                Err(error) if is_passing(&error) && started.elapsed() < PATIENCE => {
                    tokio::time::sleep(pause.mul_f64(rand::random::<f64>())).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        self.api.get(route, Some(query)).await
    }

    async fn request<T: DeserializeOwned>(&self, route: &str, query: &Value) -> std::result::Result<T, Failure> {
        let answer: Value = self.repeat(route, query).await.map_err(|error| {
            let is_missing =
                matches!(&error, octocrab::Error::GitHub { source, .. } if source.status_code.as_u16() == 404);
            let error = explain(&format!("read {route}"), &error);
            if is_missing { Failure::NotFound(error) } else { Failure::Other(error) }
        })?;
        serde_json::from_value(answer).map_err(|error| {
            let what = format!("cannot read {route}: the answer is not of the known form");
            Failure::Other(Error::failed(what).caused_by(error))
        })
    }
}

/// Whether the same request may have an answer a moment later.
fn is_passing(error: &octocrab::Error) -> bool {
    match error {
        octocrab::Error::GitHub { source, .. } => source.status_code.is_server_error(),
        octocrab::Error::Json { .. } | octocrab::Error::Serde { .. } => false,
        _ => true,
    }
}

/// Why there is no answer.
enum Failure {
    NotFound(Error),
    Other(Error),
}

/// Says what the API said; octocrab's own text for it is only "GitHub".
fn explain(what: &str, error: &octocrab::Error) -> Error {
    let octocrab::Error::GitHub { source, .. } = error else {
        let reason = http::root_cause(error);
        return Error::failed(format!("cannot {what}: the GitHub API cannot be reached: {reason}"));
    };
    let status = source.status_code.as_u16();
    let mut message: String = source.message.chars().take(MAX_MESSAGE).collect();
    if message.len() < source.message.len() {
        message.push('…');
    }
    let result = Error::failed(format!("cannot {what}: the GitHub API answered {status}: {message}"));
    hinted(result, status, source.headers.as_ref().is_some_and(is_exhausted))
}

/// Whether the token may ask for nothing more for a while.
fn is_exhausted(headers: &HeaderMap) -> bool {
    headers.get("x-ratelimit-remaining").is_some_and(|left| left.as_bytes() == b"0")
        || headers.contains_key("retry-after")
}

/// Adds what would help.
fn hinted(result: Error, status: u16, is_exhausted: bool) -> Error {
    match status {
        403 | 429 if is_exhausted => {
            result.hint("the token's rate limit is used up; try again later, or give another `github-token`")
        }
        300..=399 => result.hint("no redirect is followed, so that the token stays here; has the repository been renamed?"),
        401 => result.hint("the `github-token` is not valid"),
        403 => result.hint("the `github-token` needs `actions: read` on that repository, and for `promote` also `contents: read` and `pull-requests: read`"),
        404 => result.hint("check `repository` and `run-id`; a job's own token cannot read other private repositories"),
        _ => result,
    }
}
