//! The workflow run that this process belongs to, from `GITHUB_*` and the event payload.

use std::path::Path;

use serde_json::Value;

use crate::environment::Environment;
use crate::format::pointer::Producer;
use crate::regular_file;

/// What is known of the run; all text is foreign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunContext {
    /// `owner/repo`.
    pub repository: String,
    /// The repository's number; 0 where neither the runner nor the payload says.
    pub repository_id: u64,
    /// The full ref, such as `refs/heads/main` or `refs/pull/7/merge`.
    pub git_ref: String,
    /// The commit.
    pub sha: String,
    /// The event's name.
    pub event: String,
    /// The workflow file and its ref.
    pub workflow_ref: String,
    /// The run's number; 0 where the runner does not say.
    pub run_id: u64,
    /// The attempt, from 1.
    pub run_attempt: u64,
    /// The job's id.
    pub job: String,
    /// The account that started this attempt of the run.
    pub actor: String,
    /// The message of the commit that was pushed last or that is queued, where the payload tells
    /// it.
    pub message: Option<String>,
    /// The branch of a pull request.
    pub head_ref: String,
    /// The default branch, where the payload tells it.
    pub default_branch: Option<String>,
    /// The pull request of the event.
    pub pull_request: Option<PullRequest>,
    /// The ref that a merge queue entry will be merged into.
    pub merge_base_ref: Option<String>,
    /// What the runner allows this run to do with caches.
    pub cache_mode: CacheMode,
}

/// A pull request as far as trust needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Whether its branch lies in the repository itself; a deleted or unknown one does not.
    pub same_repository: bool,
    /// The last commit of its branch.
    pub head_sha: String,
    /// The names of its labels.
    pub labels: Vec<String>,
}

/// `ACTIONS_CACHE_MODE`, which GitHub sets for events that outsiders can cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Unset or unknown: no restriction.
    #[default]
    ReadWrite,
    /// Only restoring is allowed.
    Read,
    /// Only saving is allowed.
    WriteOnly,
    /// Neither is.
    None,
}

/// The event's payload. Each thing is looked for by itself, so that what is odd in one place hides
/// nothing else.
struct Payload(Value);

impl Payload {
    fn parse(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self(serde_json::from_slice(text).unwrap_or_default())
    }

    fn text(&self, place: &str) -> Option<String> {
        self.0.pointer(place)?.as_str().map(str::to_owned)
    }

    fn number(&self, place: &str) -> Option<u64> {
        self.0.pointer(place)?.as_u64()
    }

    /// A pull request is always one of the repository that the event is of.
    fn pull_request(&self) -> Option<PullRequest> {
        self.0.get("pull_request")?.as_object()?;
        let repository = |place: &str| self.text(&format!("{place}/full_name"));
        let head = repository("/pull_request/head/repo");
        let base = repository("/pull_request/base/repo").or_else(|| repository("/repository"));
        let labels = self.0.pointer("/pull_request/labels").and_then(Value::as_array);
        Some(PullRequest {
            number: self.number("/pull_request/number").or_else(|| self.number("/number"))?,
            same_repository: head.is_some() && head == base,
            head_sha: self.text("/pull_request/head/sha").unwrap_or_default(),
            labels: labels
                .into_iter()
                .flatten()
                .filter_map(|label| Some(label["name"].as_str()?.to_owned()))
                .collect(),
        })
    }
}

/// GitHub's payloads have 25 MB at most.
const MAX_PAYLOAD: usize = 64 << 20;

/// Returns the short name of a ref, by which heads are filed: a branch, or `tags/<tag>`.
pub fn short_ref(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/")).unwrap_or(git_ref)
}

impl RunContext {
    /// Returns the run with what its payload says; see [`RunContext::read`].
    pub fn of(environment: &Environment) -> Option<Self> {
        let path = environment.get("GITHUB_EVENT_PATH").map(Path::new);
        let payload =
            path.and_then(|path| regular_file::read("event's payload", path, MAX_PAYLOAD).ok());
        Self::read(environment, payload.as_deref())
    }

    /// Returns the run, `None` where neither GITHUB_ACTIONS nor GITHUB_EVENT_NAME is set. What the
    /// payload lacks, or says in another way than GitHub, stays empty, which never widens what a
    /// run may do.
    pub fn read(environment: &Environment, payload: Option<&[u8]>) -> Option<Self> {
        if !environment.is_true("GITHUB_ACTIONS") && environment.get("GITHUB_EVENT_NAME").is_none()
        {
            return None;
        }
        let text = |name: &str| environment.get(name).unwrap_or_default().to_owned();
        let number = |name: &str| environment.get(name).and_then(|value| value.parse().ok());
        let payload = Payload::parse(payload.unwrap_or_default());
        let repository = text("GITHUB_REPOSITORY");
        let place = if payload.0["merge_group"].is_object() {
            "/merge_group/head_commit"
        } else {
            "/head_commit"
        };
        Some(Self {
            repository_id: match environment.get("GITHUB_REPOSITORY_ID") {
                Some(id) => id.parse().unwrap_or(0),
                // Some runners leave it to the payload.
                None if payload.text("/repository/full_name").as_ref() == Some(&repository) => {
                    payload.number("/repository/id").unwrap_or(0)
                }
                None => 0,
            },
            repository,
            git_ref: text("GITHUB_REF"),
            sha: text("GITHUB_SHA"),
            event: text("GITHUB_EVENT_NAME"),
            workflow_ref: text("GITHUB_WORKFLOW_REF"),
            run_id: number("GITHUB_RUN_ID").unwrap_or(0),
            run_attempt: number("GITHUB_RUN_ATTEMPT").unwrap_or(1),
            job: text("GITHUB_JOB"),
            actor: environment
                .get("GITHUB_TRIGGERING_ACTOR")
                .map_or_else(|| text("GITHUB_ACTOR"), str::to_owned),
            head_ref: text("GITHUB_HEAD_REF"),
            cache_mode: match environment.get("ACTIONS_CACHE_MODE") {
                Some("none") => CacheMode::None,
                Some("read") => CacheMode::Read,
                Some("write-only") => CacheMode::WriteOnly,
                _ => CacheMode::ReadWrite,
            },
            default_branch: payload.text("/repository/default_branch"),
            message: payload.text(&format!("{place}/message")),
            merge_base_ref: payload.text("/merge_group/base_ref"),
            pull_request: payload.pull_request(),
        })
    }

    /// Returns whether the run is one of this repository, whose name GitHub takes in any case.
    pub fn is_of(&self, repository: &str) -> bool {
        self.repository.eq_ignore_ascii_case(repository)
    }

    /// Returns the short name of the ref whose head this run moves: a branch, `tags/<tag>`, or
    /// the branch of a pull request.
    pub fn ref_name(&self) -> &str {
        if !self.head_ref.is_empty() {
            return &self.head_ref;
        }
        short_ref(&self.git_ref)
    }

    /// Returns the path of the workflow file, such as `.github/workflows/train.yml`; `None` where
    /// the workflow is not the repository's own.
    pub fn workflow_path(&self) -> Option<&str> {
        // The name of a file may hold an `@`, but no slash.
        let (file, _) = self.workflow_ref.split_once("@refs/")?;
        file.strip_prefix(self.repository.as_str())?.strip_prefix('/')
    }

    /// Returns what a pointer says of its producer.
    pub fn producer(&self) -> Producer {
        Producer {
            repository: self.repository.clone(),
            repository_id: self.repository_id,
            git_ref: self.git_ref.clone(),
            sha: self.sha.clone(),
            event: self.event.clone(),
            workflow_ref: self.workflow_ref.clone(),
            run_id: self.run_id,
            run_attempt: self.run_attempt,
            job: self.job.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(more: &[(&str, &str)]) -> Environment {
        let base = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REF", "refs/heads/main"),
            ("GITHUB_RUN_ID", "77"),
        ];
        base.iter().chain(more).copied().collect()
    }

    #[test]
    fn outside_of_actions_there_is_no_run() {
        assert_eq!(RunContext::read(&Environment::default(), None), None);
    }

    #[test]
    fn a_fork_is_told_from_the_repository_itself() {
        let payload = |head: &str| {
            let base = r#"{"repo":{"full_name":"o/r"}}"#;
            format!(r#"{{"pull_request":{{"number":7,"head":{{"repo":{head}}},"base":{base}}}}}"#)
        };
        for (head, same) in
            [(r#"{"full_name":"o/r"}"#, true), (r#"{"full_name":"x/r"}"#, false), ("null", false)]
        {
            let run = RunContext::read(&environment(&[]), Some(payload(head).as_bytes())).unwrap();
            let request = run.pull_request.unwrap();
            assert_eq!((request.number, request.same_repository), (7, same));
        }
    }

    #[test]
    fn what_is_odd_hides_nothing_else() {
        let read =
            |payload: &str| RunContext::read(&environment(&[]), Some(payload.as_bytes())).unwrap();
        let repository = r#""repository":{"full_name":"o/r","default_branch":"main"}"#;
        let own = r#"{"repo":{"full_name":"o/r"},"sha":"ab"}"#;
        for odd in [
            r#""head_commit":"ab""#,
            r#""head_commit":{"message":7}"#,
            r#""pull_request":[]"#,
            r#""pull_request":{"head":null}"#,
            r#""merge_group":{"base_ref":{}}"#,
        ] {
            let run = read(&format!("\u{feff}{{{odd},{repository}}}"));
            assert_eq!(run.default_branch.as_deref(), Some("main"), "{odd}");
            assert_eq!(
                (run.message, run.pull_request, run.merge_base_ref),
                (None, None, None),
                "{odd}"
            );
        }
        let labels = r#"[{"name":"retrain"},{"name":null},"x"]"#;
        for (request, count) in [
            (format!(r#"{{"number":7,"head":{own},"base":{own},"labels":null}}"#), 0),
            (format!(r#"{{"number":7,"head":{own},"labels":{labels}}}"#), 1),
            (format!(r#"{{"head":{own},"base":{{"repo":null}}}}"#), 0),
        ] {
            let run = read(&format!(r#"{{"number":7,"pull_request":{request},{repository}}}"#));
            let found = run.pull_request.unwrap();
            assert_eq!(
                (found.number, found.same_repository, &*found.head_sha),
                (7, true, "ab"),
                "{request}"
            );
            assert_eq!(found.labels.len(), count, "{request}");
        }
        // Nothing of it makes a fork one's own.
        for (head, more) in
            [("null", repository), (r#"{"repo":{}}"#, repository), ("null", r#""number":7"#)]
        {
            let run = read(&format!(r#"{{"number":7,"pull_request":{{"head":{head}}},{more}}}"#));
            assert!(!run.pull_request.unwrap().same_repository, "{head} {more}");
        }
    }

    #[test]
    fn the_payload_numbers_the_repository_where_the_runner_does_not() {
        let payload = br#"{"repository":{"full_name":"o/r","id":42}}"#;
        let id = |more: &[(&str, &str)], payload: &[u8]| {
            RunContext::read(&environment(more), Some(payload)).unwrap().repository_id
        };
        let own = ("GITHUB_REPOSITORY", "o/r");
        assert_eq!(id(&[own], payload), 42);
        assert_eq!(id(&[own, ("GITHUB_REPOSITORY_ID", "7")], payload), 7);
        assert_eq!(id(&[own, ("GITHUB_REPOSITORY_ID", "x")], payload), 0);
        assert_eq!(id(&[("GITHUB_REPOSITORY", "o/other")], payload), 0);
        assert_eq!(id(&[], payload), 0);
        assert_eq!(id(&[own], br#"{"repository":{"full_name":"o/r","id":"42"}}"#), 0);
        assert_eq!(id(&[], br#"{"repository":{"id":42}}"#), 0);
    }

    #[test]
    fn nonsense_is_no_context() {
        let run =
            RunContext::read(&environment(&[("ACTIONS_CACHE_MODE", "read")]), Some(b"{")).unwrap();
        assert_eq!(
            (run.default_branch.as_deref(), run.run_id, run.cache_mode),
            (None, 77, CacheMode::Read)
        );
        assert_eq!(run.ref_name(), "main");
    }
}
