//! The pages of GitHub about a model: the run that made it, the commit and the pull request.

use super::Outcome;
use crate::format::Scope;
use crate::format::pointer::Producer;

/// A page about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The text, which needs no escape.
    pub text: String,
    /// The address, which needs no escape.
    pub url: String,
}

/// Returns the pages about the model of an outcome. Without a pointer, there are none.
///
/// A pointer is foreign text. So a part that has not the form of a repository or a commit leads
/// to no link.
pub fn of(outcome: &Outcome) -> Vec<Link> {
    let Some(pointer) = &outcome.pointer else { return Vec::new() };
    let producer = match &pointer.producer {
        Some(producer) if is_base(&outcome.server_url) && is_repository(&producer.repository) => {
            producer
        }
        _ => return Vec::new(),
    };
    let base = format!("{}/{}", outcome.server_url.trim_end_matches('/'), producer.repository);
    let link = |text: String, path: String| Link { text, url: format!("{base}/{path}") };
    let run = |id: u64| link(format!("run {id}"), format!("actions/runs/{id}"));
    let mut links = Vec::new();
    if producer.run_id != 0 {
        links.push(run(producer.run_id));
    }
    if is_commit(&producer.sha) {
        let text = format!("commit {}", &producer.sha[..12]);
        links.push(link(text, format!("commit/{}", producer.sha)));
    }
    let promoted = pointer.promotion.as_ref();
    let number = match (promoted, &pointer.scope) {
        (Some(promotion), _) => Some(promotion.pull_request),
        (None, Scope::PullRequest(number)) => Some(*number),
        (None, _) => pull_request_of(producer),
    };
    if let Some(number) = number {
        links.push(link(format!("pull request {number}"), format!("pull/{number}")));
    }
    if let Some(promotion) = promoted.filter(|promotion| promotion.by.run_id != 0) {
        let Link { text, url } = run(promotion.by.run_id);
        links.push(Link { text: format!("promotion in {text}"), url });
    }
    links
}

/// Returns the number of the pull request whose run made the model.
fn pull_request_of(producer: &Producer) -> Option<u64> {
    producer.git_ref.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok()
}

fn is_base(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b".:-/".contains(&c);
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(is_plain))
}

fn is_repository(name: &str) -> bool {
    let is_name = |part: &str| {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
        !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
    };
    matches!(name.split_once('/'), Some((owner, name)) if is_name(owner) && is_name(name))
}

fn is_commit(sha: &str) -> bool {
    matches!(sha.len(), 40 | 64) && sha.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Pointer;
    use crate::outcome::Ending;

    fn outcome(change: impl Fn(&mut Pointer)) -> Outcome {
        let golden = include_bytes!("../../tests/it/golden/v1/pointer.json");
        let mut pointer = Pointer::parse(golden).unwrap();
        change(&mut pointer);
        let (namespace, model) = (pointer.namespace.clone(), pointer.model.clone());
        Outcome {
            pointer: Some(pointer),
            server_url: "https://github.com".to_owned(),
            ..Outcome::new("plan", &namespace, &model, Ending::UpToDate)
        }
    }

    fn set(change: impl Fn(&mut Producer)) -> impl Fn(&mut Pointer) {
        move |pointer| change(pointer.producer.as_mut().unwrap())
    }

    #[test]
    fn links_lead_to_the_run_the_commit_and_the_pull_request() {
        let found = of(&outcome(set(|producer| {
            producer.repository = "org/repo".to_owned();
            producer.run_id = 42;
            producer.sha = "a1".repeat(20);
            producer.git_ref = "refs/pull/7/merge".to_owned();
        })));
        let urls: Vec<&str> = found.iter().map(|link| link.url.as_str()).collect();
        let commit = format!("https://github.com/org/repo/commit/{}", "a1".repeat(20));
        assert_eq!(
            urls,
            [
                "https://github.com/org/repo/actions/runs/42",
                &commit,
                "https://github.com/org/repo/pull/7",
            ]
        );
        assert_eq!(found[1].text, "commit a1a1a1a1a1a1");
    }

    #[test]
    fn foreign_text_leads_to_no_link() {
        for repository in ["org/a)b", "org/../x", "org", "org/x/y", "o rg/x", "org/[x]"] {
            let found = of(&outcome(set(|it| it.repository = repository.to_owned())));
            assert_eq!(found, [], "{repository}");
        }
        let found = of(&outcome(set(|it| it.sha = "main](https://evil)".to_owned())));
        assert!(found.iter().all(|link| !link.url.contains("evil")), "{found:?}");
        let elsewhere = Outcome { server_url: "javascript:x".to_owned(), ..outcome(|_| {}) };
        assert_eq!(of(&elsewhere), []);
    }
}
