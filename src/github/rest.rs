//! GitHub's REST API. Only this module knows octocrab.

mod answers;
mod comments;
mod request;

use reqwest::Url;
use serde::de::IgnoredAny;

pub use self::answers::{
    Account, Artifact, Comment, PullRequest, ReferencedWorkflow, Repository, Run, Side, TextFile,
};
use self::answers::{Artifacts, Commit, Event, File, Runs};
use self::request::{Attempt, Call, Fault, RETRY};
pub use self::request::{MAX_ITEMS, Rest};
use super::{archive, http};
use crate::error::{Error, Result};
use crate::retry::Failure;

impl Rest {
    /// Returns a repository.
    ///
    /// # Errors
    /// - The token cannot see the repository.
    /// - The API fails.
    pub async fn repository(&self, repository: &str) -> Result<Repository> {
        self.get(&format!("/repos/{repository}"), &[]).await
    }

    /// Returns a repository's default branch. The inner error says why this machine or this token
    /// cannot see the repository.
    ///
    /// # Errors
    /// The API fails or limits the requests. A later request may have another answer.
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

    /// Returns whether the repository has a tag of this name. The inner error says why this machine
    /// or this token cannot know.
    ///
    /// # Errors
    /// The API fails or limits the requests. A later request may have another answer.
    pub async fn has_tag(
        &self,
        repository: &str,
        name: &str,
    ) -> Result<std::result::Result<bool, Error>> {
        let route = format!("/repos/{repository}/git/ref/tags/{}", escaped(name));
        match self.request::<IgnoredAny>(&route, &[]).await {
            Ok(_) => Ok(Ok(true)),
            Err(Fault::Missing(_)) => Ok(Ok(false)),
            Err(Fault::Failed(error)) => Err(error),
            Err(fault) => Ok(Err(fault.into())),
        }
    }

    /// Returns a run.
    ///
    /// # Errors
    /// - The token cannot see the run.
    /// - The API fails.
    pub async fn run(&self, repository: &str, run: u64) -> Result<Run> {
        self.get(&format!("/repos/{repository}/actions/runs/{run}"), &[]).await
    }

    /// Returns a run's artifacts, the newest last. The list ends after [`MAX_ITEMS`].
    ///
    /// # Errors
    /// - The token cannot see the run.
    /// - The API fails.
    pub async fn artifacts_of_run(&self, repository: &str, run: u64) -> Result<Vec<Artifact>> {
        let route = format!("/repos/{repository}/actions/runs/{run}/artifacts");
        let mut found = self.pages(&route, &[], |answer: Artifacts| answer.artifacts).await?;
        found.sort_by_key(|artifact| artifact.id);
        Ok(found)
    }

    /// Returns a repository's artifacts of exactly this name, the newest last. Any run may have
    /// uploaded them.
    ///
    /// # Errors
    /// - The token cannot see the repository.
    /// - The API fails.
    pub async fn artifacts_named(&self, repository: &str, name: &str) -> Result<Vec<Artifact>> {
        let route = format!("/repos/{repository}/actions/artifacts");
        let mut found =
            self.pages(&route, &[("name", name)], |answer: Artifacts| answer.artifacts).await?;
        found.sort_by_key(|artifact| artifact.id);
        Ok(found)
    }

    /// Returns the successful `pull_request` runs for a commit.
    ///
    /// # Errors
    /// - The token cannot see the repository.
    /// - The API fails.
    pub async fn runs_of_commit(&self, repository: &str, sha: &str) -> Result<Vec<Run>> {
        let query = [("head_sha", sha), ("event", "pull_request"), ("status", "success")];
        self.pages(&format!("/repos/{repository}/actions/runs"), &query, |answer: Runs| {
            answer.workflow_runs
        })
        .await
    }

    /// Returns the pull requests that contain a commit, or that the commit merged.
    ///
    /// # Errors
    /// - The token cannot see the commit.
    /// - The API fails.
    pub async fn pull_requests_of_commit(
        &self,
        repository: &str,
        sha: &str,
    ) -> Result<Vec<PullRequest>> {
        self.pages(&format!("/repos/{repository}/commits/{sha}/pulls"), &[], |answer| answer).await
    }

    /// Returns all pull requests whose branch has the name, open and closed, into any branch.
    ///
    /// # Errors
    /// - The list has [`MAX_ITEMS`] or more, so it may not be complete.
    /// - The API fails.
    pub async fn pull_requests_of_branch(
        &self,
        repository: &str,
        branch: &str,
    ) -> Result<Vec<PullRequest>> {
        let owner = repository.split('/').next().unwrap_or_default();
        let head = format!("{owner}:{branch}");
        self.all(&format!("/repos/{repository}/pulls"), &[("state", "all"), ("head", &head)]).await
    }

    /// Returns the names of all events of a pull request.
    ///
    /// # Errors
    /// - The list has [`MAX_ITEMS`] or more, so it may not be complete.
    /// - The API fails.
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
    /// - The token cannot see the commit.
    /// - The API fails.
    pub async fn message_of_commit(&self, repository: &str, sha: &str) -> Result<String> {
        let answer: Commit = self.get(&format!("/repos/{repository}/commits/{sha}"), &[]).await?;
        Ok(answer.commit.message)
    }

    /// Returns a text file at a commit; `None` if the commit has no such file, or if the token
    /// cannot see it.
    ///
    /// # Errors
    /// - The token may not read the repository's files.
    /// - The file is no text, or has more than 1 MB.
    /// - The API fails.
    pub async fn file(&self, repository: &str, path: &str, sha: &str) -> Result<Option<TextFile>> {
        let route = format!("/repos/{repository}/contents/{}", escaped(path));
        match self.request::<File>(&route, &[("ref", sha)]).await {
            Ok(file) => match file.text() {
                Some(text) => Ok(Some(TextFile { id: file.sha, text })),
                None => Err(Error::failed(format!(
                    "GitHub's API does not return the text of `{path}` in `{repository}`"
                ))),
            },
            Err(Fault::Missing(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Downloads an artifact and returns its pointer.
    ///
    /// # Errors
    /// - The artifact has expired.
    /// - The artifact is too large, or it holds no pointer.
    /// - The API or the artifact's storage fails.
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

    /// Requests an artifact's bytes once.
    async fn zip(&self, route: &str, artifact: &Artifact) -> Attempt<Vec<u8>> {
        let failed = |reason: String| not_downloaded(artifact, &reason);
        let answer =
            self.answer("download the artifact", Call::Get(route, &[]), archive::MAX_BYTES).await?;
        let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
        match (answer.status, location) {
            (301 | 302 | 303 | 307 | 308, Some(url)) => {
                // The URL carries its own credential, so the storage must not see the token.
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
}

/// Escapes the components of a path.
fn escaped(path: &str) -> String {
    let mut url = Url::parse("http://base").ok();
    if let Some(mut components) = url.as_mut().and_then(|url| url.path_segments_mut().ok()) {
        components.clear().extend(path.split('/'));
    }
    url.as_ref().map_or("", |url| url.path().trim_start_matches('/')).to_owned()
}

fn not_downloaded(artifact: &Artifact, reason: &str) -> Error {
    Error::failed(format!("cannot download the artifact `{}`: {reason}", artifact.name))
}

fn expired(artifact: &Artifact) -> Error {
    not_downloaded(artifact, "it has expired").hint(
        "leave `run-id` out to use the latest model, or set `fingerprint` instead; a model stays \
         in the store when its artifact expires",
    )
}
