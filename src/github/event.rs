//! The workflow run of this process, from `GITHUB_*` and the event's payload.

use std::path::Path;

use serde_json::Value;

use crate::environment::Environment;
use crate::regular_file;
use crate::workflow::{CacheMode, PullRequest, RunContext};

/// The event's payload. Each method reads only its own fields, so that a malformed field hides no
/// other field.
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

    /// Returns the pull request of the event. Its base is always the repository of the event.
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

/// The largest accepted payload, in bytes. GitHub's payloads have at most 25 MB.
const MAX_PAYLOAD: usize = 64 << 20;

/// Returns the run with the facts of its payload; see [`read`].
pub fn run_of(environment: &Environment) -> Option<RunContext> {
    let path = environment.get("GITHUB_EVENT_PATH").map(Path::new);
    let payload =
        path.and_then(|path| regular_file::read("event's payload", path, MAX_PAYLOAD).ok());
    read(environment, payload.as_deref())
}

/// Returns the run; `None` if GITHUB_ACTIONS is not `true` and GITHUB_EVENT_NAME is empty.
///
/// A fact that the payload lacks or misspells stays empty. An empty fact never widens the rights of
/// a run.
pub fn read(environment: &Environment, payload: Option<&[u8]>) -> Option<RunContext> {
    if !environment.is_true("GITHUB_ACTIONS") && environment.get("GITHUB_EVENT_NAME").is_none() {
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
    Some(RunContext {
        repository_id: match environment.get("GITHUB_REPOSITORY_ID") {
            Some(id) => id.parse().unwrap_or(0),
            // Some runners name the number only in the payload.
            None if payload.text("/repository/full_name").as_ref() == Some(&repository) => {
                payload.number("/repository/id").unwrap_or(0)
            }
            None => 0,
        },
        repository,
        server_url: text("GITHUB_SERVER_URL"),
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
        action: environment.get("GITHUB_ACTION_REPOSITORY").map(str::to_owned),
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
        assert_eq!(read(&Environment::default(), None), None);
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
            let run = read(&environment(&[]), Some(payload(head).as_bytes())).unwrap();
            let request = run.pull_request.unwrap();
            assert_eq!((request.number, request.same_repository), (7, same));
        }
    }

    #[test]
    fn what_is_odd_hides_nothing_else() {
        let read = |payload: &str| read(&environment(&[]), Some(payload.as_bytes())).unwrap();
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
        // A malformed payload never turns a fork into our own repository.
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
            read(&environment(more), Some(payload)).unwrap().repository_id
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
        let run = read(&environment(&[("ACTIONS_CACHE_MODE", "read")]), Some(b"{")).unwrap();
        assert_eq!(
            (run.default_branch.as_deref(), run.run_id, run.cache_mode),
            (None, 77, CacheMode::Read)
        );
        assert_eq!(run.ref_name(), "main");
    }
}
