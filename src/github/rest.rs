//! GitHub's REST API, through octocrab; the only module that knows it.
//!
//! The response types are our own: octocrab's lack fields that trust depends on, and take others
//! for always present that may be null.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use octocrab::Octocrab;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::{archive, http};
use crate::error::{Error, Result};
use crate::retry::{Failure, Outlook, Policy};
use crate::sanitize;
use crate::workflow::facts::RunFacts;

/// For requests that meet a fault of the server. A host that cannot be reached costs a timeout
/// every time.
const RETRY: Policy = Policy {
    attempts: 3,
    pause: Duration::from_millis(400),
    growth: 2.0,
    patience: Duration::from_secs(5),
};
/// A server that wants to be left alone for longer than that has its way: the work fails.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What helps whoever has asked too often.
const LIMITED: &str =
    "the token's rate limit is used up; try again later, or give another `github-token`";
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
    http: reqwest::Client,
}

/// Names and values behind the `?` of a route.
type Query<'a> = [(&'a str, &'a str)];

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
    #[serde(default, deserialize_with = "or_default")]
    pub event: String,
    /// The branch it ran for.
    pub head_branch: Option<String>,
    /// The commit it ran for.
    #[serde(default, deserialize_with = "or_default")]
    pub head_sha: String,
    /// `success` where it ended well.
    pub conclusion: Option<String>,
    /// The workflow file.
    pub path: Option<String>,
    /// The repository that it belongs to.
    pub repository: Option<RepositoryId>,
    /// The repository whose code it ran.
    pub head_repository: Option<RepositoryId>,
    /// The workflow files that its own file calls; where the API does not say, there may be any.
    pub referenced_workflows: Option<Vec<ReferencedWorkflow>>,
}

impl Run {
    /// Returns the facts that trust in the run rests on.
    pub fn facts(&self) -> RunFacts {
        RunFacts {
            repository_id: self.repository.map(|repository| repository.id),
            head_repository_id: self.head_repository.map(|repository| repository.id),
            head_branch: self.head_branch.clone(),
            event: self.event.clone(),
            conclusion: self.conclusion.clone(),
        }
    }
}

/// A workflow file that another one calls.
#[derive(Clone, Debug, Deserialize)]
pub struct ReferencedWorkflow {
    /// `owner/repo/path@ref`.
    pub path: Option<String>,
    /// The commit that it was taken from.
    pub sha: Option<String>,
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
    #[serde(default, deserialize_with = "or_default")]
    pub size_in_bytes: u64,
    /// Whether its bytes are gone.
    #[serde(default, deserialize_with = "or_default")]
    pub expired: bool,
    /// What the list says of the run that uploaded it.
    pub workflow_run: Option<Uploader>,
}

impl Artifact {
    /// Returns what is known of its run without asking for it, and the best of the rest; `None`
    /// where nothing is.
    pub fn hopeful_facts(&self) -> Option<RunFacts> {
        let run = self.workflow_run.as_ref()?;
        Some(RunFacts {
            repository_id: Some(run.repository_id?),
            head_repository_id: Some(run.head_repository_id?),
            head_branch: Some(run.head_branch.clone()?),
            event: "push".to_owned(),
            conclusion: Some("success".to_owned()),
        })
    }
}

/// The run that uploaded an artifact, as lists tell of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Uploader {
    /// Its number.
    pub id: Option<u64>,
    /// The repository that it belongs to.
    pub repository_id: Option<u64>,
    /// The repository whose code it ran.
    pub head_repository_id: Option<u64>,
    /// The branch it ran for.
    pub head_branch: Option<String>,
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
struct Event {
    event: String,
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
        let shown = || sanitize::address(url);
        let no_url = || {
            Error::bad_input(format!(
                "`{}` is no base URL of a GitHub API (GITHUB_API_URL)",
                shown()
            ))
        };
        // octocrab takes both for granted, and panics.
        if !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(no_url());
        }
        if !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Error::bad_input(
                "`github-token` holds characters that no token has, such as a line end",
            ));
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
        self.get(&format!("/repos/{repository}"), &[]).await
    }

    /// Returns a repository's default branch; the inner error says why this machine or this token
    /// cannot see the repository at all.
    ///
    /// # Errors
    /// An API that fails, or limits the requests: a moment later it may have another answer.
    pub async fn default_branch(
        &self,
        repository: &str,
    ) -> Result<std::result::Result<String, Error>> {
        match self.request::<Repository>(&format!("/repos/{repository}"), &[]).await {
            Ok(repository) => Ok(Ok(repository.default_branch)),
            Err(Fault::Failed(error)) => Err(error),
            Err(fault) => Ok(Err(fault.into())),
        }
    }

    /// Returns a run.
    ///
    /// # Errors
    /// A run that does not exist for this token, or an API that fails.
    pub async fn run(&self, repository: &str, run: u64) -> Result<Run> {
        self.get(&format!("/repos/{repository}/actions/runs/{run}"), &[]).await
    }

    /// Returns a run's artifacts, newest last.
    ///
    /// # Errors
    /// A run that does not exist for this token, or an API that fails.
    pub async fn artifacts_of_run(&self, repository: &str, run: u64) -> Result<Vec<Artifact>> {
        let route = format!("/repos/{repository}/actions/runs/{run}/artifacts");
        let mut found = self.pages(&route, &[], |answer: Artifacts| answer.artifacts).await?;
        found.sort_by_key(|artifact| artifact.id);
        Ok(found)
    }

    /// Returns a repository's artifacts of exactly this name, newest last, whoever uploaded them.
    ///
    /// # Errors
    /// A repository that does not exist for this token, or an API that fails.
    pub async fn artifacts_named(&self, repository: &str, name: &str) -> Result<Vec<Artifact>> {
        let route = format!("/repos/{repository}/actions/artifacts");
        let mut found =
            self.pages(&route, &[("name", name)], |answer: Artifacts| answer.artifacts).await?;
        found.sort_by_key(|artifact| artifact.id);
        Ok(found)
    }

    /// Returns the runs for pull requests that ended well for a commit.
    ///
    /// # Errors
    /// A repository that does not exist for this token, or an API that fails.
    pub async fn runs_of_commit(&self, repository: &str, sha: &str) -> Result<Vec<Run>> {
        let query = [("head_sha", sha), ("event", "pull_request"), ("status", "success")];
        self.pages(&format!("/repos/{repository}/actions/runs"), &query, |answer: Runs| {
            answer.workflow_runs
        })
        .await
    }

    /// Returns the pull requests that have a commit, as their merge or among their own.
    ///
    /// # Errors
    /// A commit that does not exist for this token, or an API that fails.
    pub async fn pull_requests_of_commit(
        &self,
        repository: &str,
        sha: &str,
    ) -> Result<Vec<PullRequest>> {
        self.pages(&format!("/repos/{repository}/commits/{sha}/pulls"), &[], |answer| answer).await
    }

    /// Returns all pull requests whose branch has the name, open and closed, whatever they go to.
    ///
    /// # Errors
    /// More of them than are looked at, or an API that fails.
    pub async fn pull_requests_of_branch(
        &self,
        repository: &str,
        branch: &str,
    ) -> Result<Vec<PullRequest>> {
        let owner = repository.split('/').next().unwrap_or_default();
        let head = format!("{owner}:{branch}");
        self.all(&format!("/repos/{repository}/pulls"), &[("state", "all"), ("head", &head)]).await
    }

    /// Returns the names of everything that happened to a pull request.
    ///
    /// # Errors
    /// More of it than is looked at, or an API that fails.
    pub async fn events_of_pull_request(
        &self,
        repository: &str,
        number: u64,
    ) -> Result<Vec<String>> {
        let events: Vec<Event> =
            self.all(&format!("/repos/{repository}/issues/{number}/events"), &[]).await?;
        Ok(events.into_iter().map(|event| event.event).collect())
    }

    /// Returns a commit's message.
    ///
    /// # Errors
    /// A commit that does not exist for this token, or an API that fails.
    pub async fn message_of_commit(&self, repository: &str, sha: &str) -> Result<String> {
        let answer: Commit = self.get(&format!("/repos/{repository}/commits/{sha}"), &[]).await?;
        Ok(answer.commit.message)
    }

    /// Returns the id that Git gives to a file's content at a commit; `None` where there is no such
    /// file.
    ///
    /// # Errors
    /// A token that may not read the repository's files, or an API that fails.
    pub async fn file_id(&self, repository: &str, path: &str, sha: &str) -> Result<Option<String>> {
        let route = format!("/repos/{repository}/contents/{}", escaped(path));
        match self.request::<File>(&route, &[("ref", sha)]).await {
            Ok(file) => Ok(Some(file.sha)),
            Err(Fault::Missing(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Downloads an artifact and returns the pointer in it.
    ///
    /// # Errors
    /// An artifact that has expired, is too large, or holds no pointer.
    pub async fn pointer_in(&self, repository: &str, artifact: &Artifact) -> Result<Vec<u8>> {
        let failed = |reason: String| not_downloaded(artifact, &reason);
        if artifact.expired {
            return Err(expired(artifact));
        }
        if artifact.size_in_bytes > archive::MAX_BYTES as u64 {
            return Err(failed(format!(
                "it has {} bytes, too many for a pointer",
                artifact.size_in_bytes
            )));
        }
        let route = format!("/repos/{repository}/actions/artifacts/{}/zip", artifact.id);
        archive::unpack(&RETRY.run(|| self.zip(&route, artifact)).await?)
    }

    /// Asks once for an artifact's bytes.
    async fn zip(&self, route: &str, artifact: &Artifact) -> Attempt<Vec<u8>> {
        let failed = |reason: String| not_downloaded(artifact, &reason);
        let answer = self.answer("download the artifact", route, &[], archive::MAX_BYTES).await?;
        let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
        match (answer.status, location) {
            (301 | 302 | 303 | 307 | 308, Some(url)) => {
                // The storage has a credential of its own in the URL, and must not see the token.
                let response = self.http.get(url).send().await;
                let passing = |error| Failure::passing(Fault::Failed(error));
                let response =
                    response.map_err(|error| passing(failed(http::broken(&error).to_string())))?;
                let status = response.status();
                if !status.is_success() {
                    let fault = Fault::Failed(failed(format!("its storage answered {status}")));
                    return Err(Failure::passing_if(status.is_server_error(), fault));
                }
                http::body(response, archive::MAX_BYTES).await.map_err(passing)
            }
            (200, _) => Ok(answer.body),
            (410, _) => Err(Fault::Failed(expired(artifact)).into()),
            _ => Err(Fault::Failed(answer.explain("download the artifact")).into()),
        }
    }

    /// Reads a list of which nothing may be missing.
    async fn all<I: DeserializeOwned>(&self, route: &str, query: &Query<'_>) -> Result<Vec<I>> {
        let found = self.pages(route, query, |answer| answer).await?;
        if found.len() >= MAX_ITEMS {
            return Err(Error::failed(format!(
                "cannot read {route}: it has more than {MAX_ITEMS} items"
            )));
        }
        Ok(found)
    }

    /// Reads a list, page by page.
    async fn pages<T: DeserializeOwned, I>(
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

    async fn get<T: DeserializeOwned>(&self, route: &str, query: &Query<'_>) -> Result<T> {
        Ok(self.request(route, query).await?)
    }

    async fn request<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &Query<'_>,
    ) -> std::result::Result<T, Fault> {
        let what = format!("read {route}");
        let answer = RETRY.run(|| self.answer(&what, route, query, MAX_ANSWER)).await?;
        match answer.status {
            200..=299 => serde_json::from_slice(&answer.body).map_err(|error| {
                let unknown =
                    Error::failed(format!("cannot {what}: the answer is not of the known form"));
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
    async fn answer(
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

/// Takes null for a field that is not there: one of them must not make a whole page of no use.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// Escapes the components of a path.
fn escaped(path: &str) -> String {
    let mut url = Url::parse("http://base").ok();
    if let Some(mut components) = url.as_mut().and_then(|url| url.path_segments_mut().ok()) {
        components.clear().extend(path.split('/'));
    }
    url.as_ref().map_or("", |url| url.path().trim_start_matches('/')).to_owned()
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
type Attempt<T> = std::result::Result<T, Failure<Fault>>;

/// Why there is nothing to work with.
enum Fault {
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
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

impl Answer {
    /// Says what the API said, and what would help.
    fn explain(&self, what: &str) -> Error {
        let mut said = format!("cannot {what}: the GitHub API answered {}", self.status);
        if let Ok(Complaint { message }) = serde_json::from_slice(&self.body) {
            said = format!("{said}: {}", sanitize::message(&message));
        }
        let error = Error::failed(said);
        match self.status {
            429 => error.hint(LIMITED),
            403 if self.is_exhausted() => error.hint(LIMITED),
            300..=399 => error.hint(
                "no redirect is followed, so that the token stays here; has the repository been \
                 renamed?",
            ),
            401 => error.hint(
                "the `github-token` is not valid; on the command line it may be that of \
                 GITHUB_TOKEN or GH_TOKEN",
            ),
            403 => error.hint(
                "the `github-token` needs `actions: read` on that repository, and for `promote` \
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

fn not_downloaded(artifact: &Artifact, reason: &str) -> Error {
    Error::failed(format!("cannot download the artifact `{}`: {reason}", artifact.name))
}

fn expired(artifact: &Artifact) -> Error {
    not_downloaded(artifact, "it has expired").hint(
        "the model is in the store for longer: leave `run-id` out for the latest one, or give a \
         `fingerprint` instead of it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::trust::usable;

    #[test]
    fn a_field_without_a_value_spoils_no_page_and_says_nothing_good() {
        let whole = r#"{"id":1,"event":"push","head_branch":"main","head_sha":"ab",
            "conclusion":"success","path":"a.yml","repository":{"id":42},
            "head_repository":{"id":42},"referenced_workflows":[]}"#;
        let nulls = r#"{"id":2,"event":null,"head_branch":null,"head_sha":null,"conclusion":null,
            "path":null,"repository":null,"head_repository":null,"referenced_workflows":null}"#;
        let odd = r#"{"id":4,"referenced_workflows":[{"path":null}]}"#;
        let page = format!(r#"{{"workflow_runs":[{whole},{nulls},{{"id":3}},{odd}]}}"#);
        let runs = serde_json::from_str::<Runs>(&page).unwrap().workflow_runs;
        assert_eq!(usable(&runs[0].facts(), "main", &[], &[]), Ok(()));
        assert_eq!(runs[0].referenced_workflows.as_ref().map(Vec::len), Some(0));
        for run in &runs[1..3] {
            assert!(usable(&run.facts(), "main", &[], &[]).is_err() && run.head_sha.is_empty());
            assert!(run.referenced_workflows.is_none(), "it is not known to call nothing");
        }
        assert_eq!(runs[3].referenced_workflows.as_ref().unwrap()[0].path, None);

        let page = r#"{"artifacts":[{"id":1,"name":"a","size_in_bytes":null,"expired":null,
            "workflow_run":null,"created_at":null,"expires_at":null,"digest":null},
            {"id":2,"name":"b"}]}"#;
        let artifacts = serde_json::from_str::<Artifacts>(page).unwrap().artifacts;
        assert_eq!(
            artifacts.iter().map(|found| (found.size_in_bytes, found.expired)).collect::<Vec<_>>(),
            [(0, false); 2]
        );
    }
}
