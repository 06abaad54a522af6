//! How far this run is trusted: the scope that it writes, and the scopes that it reads.

use crate::format::{HeadName, Scope};
use crate::workflow::{CacheMode, RunContext, short_ref};

/// Events whose code somebody with write access put into the repository on purpose.
pub(super) const TRUSTED_EVENTS: &[&str] =
    &["push", "schedule", "workflow_dispatch", "repository_dispatch", "merge_group"];

/// The short name of the ref for runs outside of GitHub Actions.
pub const LOCAL_REF: &str = "local";

/// The models of an untrusted run's own scope that the run may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadScopes {
    /// All of them.
    #[default]
    Own,
    /// Only those that this run saved itself. Everybody who can push to the branch can write the
    /// others, so a run that reads them cannot vouch for a promotion.
    Trusted,
}

/// The rights of a run over pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The scope of this run's pointers; `reads` and `read_only` say whether the run may use it.
    pub own: Scope,
    /// The scopes in which the run looks for a model, in order. Empty if the run may not read.
    pub reads: Vec<Scope>,
    /// Whether the run also reads, before these scopes, the models that it saved itself in its own
    /// scope.
    pub reads_this_run: bool,
    /// Whether the run may replace a model in its own scope. An entry of a merge queue may only
    /// create: its code may never be merged.
    pub replaces: bool,
    /// The reason why the run may not write, as a sentence; `None` if it may.
    pub read_only: Option<String>,
}

/// Decides the rights of a run. Outside of GitHub Actions everything is trusted.
pub fn access(
    run: Option<&RunContext>,
    trusted_refs: &[String],
    read_scopes: ReadScopes,
) -> Access {
    let Some(run) = run else {
        return Access {
            own: Scope::Trusted,
            reads: vec![Scope::Trusted],
            reads_this_run: false,
            replaces: true,
            read_only: None,
        };
    };
    let own = scope_of(run, trusted_refs);
    let stranger = stranger(run, &own);
    let reads = match run.cache_mode {
        CacheMode::None | CacheMode::WriteOnly => Vec::new(),
        _ if own == Scope::Trusted || stranger.is_some() => vec![Scope::Trusted],
        _ if read_scopes == ReadScopes::Trusted => vec![Scope::Trusted],
        _ => vec![own.clone(), Scope::Trusted],
    };
    let reads_this_run = read_scopes == ReadScopes::Trusted
        && own != Scope::Trusted
        && stranger.is_none()
        && !reads.is_empty();
    let read_only = match run.cache_mode {
        CacheMode::Read | CacheMode::None => {
            Some("GitHub gives this run no right to write caches (ACTIONS_CACHE_MODE)".to_owned())
        }
        _ => stranger,
    };
    let replaces = run.event != "merge_group" || own != Scope::Trusted;
    Access { own, reads, reads_this_run, replaces, read_only }
}

/// Narrows the rights for another repository's models: the run may only read the trusted models.
pub fn foreign(own: Access) -> Access {
    let reads = if own.reads.is_empty() { Vec::new() } else { vec![Scope::Trusted] };
    Access {
        own: Scope::Trusted,
        reads,
        reads_this_run: false,
        replaces: false,
        read_only: Some("a run only reads the models of another repository".to_owned()),
    }
}

/// Returns the name of the head that a run of this scope moves. Outside of GitHub Actions, it is
/// the head of the ref `local`.
///
/// The default branch has a head of its own. So its models stay the latest if it gets another name.
pub fn own_head(run: Option<&RunContext>, own: &Scope) -> HeadName {
    match run {
        Some(run) if *own == Scope::Trusted && is_default(run, &run.git_ref) => HeadName::Default,
        Some(run) => HeadName::Ref(run.ref_name().to_owned()),
        None => HeadName::Ref(LOCAL_REF.to_owned()),
    }
}

/// Returns a warning for a run that may be on the default branch although the event does not name
/// it.
///
/// Such a run's models are not trusted, so no deployment finds them. Without the warning, nothing
/// would show that.
pub fn doubt(run: &RunContext, access: &Access) -> Option<String> {
    let may_be = ["push", "workflow_dispatch"].contains(&run.event.as_str())
        && run.git_ref.starts_with("refs/heads/");
    (may_be && run.default_branch.is_none() && access.own != Scope::Trusted).then(|| {
        format!(
            "the event's payload does not name the default branch, so this run's models go to the \
             scope `{}` and are not trusted; to trust them, add the branch to `trusted-refs`",
            access.own
        )
    })
}

fn scope_of(run: &RunContext, trusted_refs: &[String]) -> Scope {
    if TRUSTED_EVENTS.contains(&run.event.as_str()) && is_trusted_ref(run, trusted_refs) {
        return Scope::Trusted;
    }
    if let Some(request) = &run.pull_request {
        return Scope::PullRequest(request.number);
    }
    let git_ref = run.git_ref.as_str();
    match short_ref(git_ref) {
        "" => Scope::Branch("unknown".to_owned()),
        name => Scope::Branch(name.to_owned()),
    }
}

fn is_trusted_ref(run: &RunContext, trusted_refs: &[String]) -> bool {
    let git_ref = if run.event == "merge_group" {
        run.merge_base_ref.as_deref().unwrap_or_default()
    } else {
        &run.git_ref
    };
    is_default(run, git_ref) || is_named(git_ref, trusted_refs)
}

fn is_default(run: &RunContext, git_ref: &str) -> bool {
    match &run.default_branch {
        Some(branch) => git_ref == format!("refs/heads/{branch}"),
        // A schedule runs on the default branch only, and its payload need not name that branch.
        None => run.event == "schedule" && git_ref.starts_with("refs/heads/"),
    }
}

/// Returns whether the input `trusted-refs` contains the full ref.
///
/// An entry is the name of a branch, or a ref that begins with `refs/`. A `*` at its end stands for
/// any text.
pub(super) fn is_named(git_ref: &str, trusted_refs: &[String]) -> bool {
    trusted_refs.iter().any(|trusted| {
        let trusted = if trusted.starts_with("refs/") {
            trusted.clone()
        } else {
            format!("refs/heads/{trusted}")
        };
        match trusted.strip_suffix('*') {
            Some(start) => git_ref.starts_with(start),
            None => *git_ref == trusted,
        }
    })
}

/// Returns why this run never writes; `None` if it may have a scope of its own.
///
/// Such a run reads only the trusted scope. No honest run writes its own scope, so somebody planted
/// any model that is there.
fn stranger(run: &RunContext, own: &Scope) -> Option<String> {
    let event = run.event.as_str();
    if event == "pull_request" {
        let is_own = run.pull_request.as_ref().is_some_and(|request| request.same_repository);
        return (!is_own).then(|| "runs of a pull request from a fork never write".to_owned());
    }
    if !TRUSTED_EVENTS.contains(&event) {
        return Some(format!("runs of the event `{event}` never write"));
    }
    let is_branch = run.git_ref.starts_with("refs/heads/");
    (*own != Scope::Trusted && !is_branch).then(|| {
        format!("runs of `{}` write only if `trusted-refs` contains this ref", run.git_ref)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::PullRequest;

    fn run(event: &str, git_ref: &str) -> RunContext {
        RunContext {
            event: event.to_owned(),
            git_ref: git_ref.to_owned(),
            default_branch: Some("main".to_owned()),
            ..RunContext::default()
        }
    }

    fn pull_request(event: &str, same_repository: bool) -> RunContext {
        let pull_request =
            Some(PullRequest { number: 7, same_repository, ..PullRequest::default() });
        RunContext { pull_request, ..run(event, "refs/pull/7/merge") }
    }

    #[test]
    fn scopes_follow_the_table() {
        let queue = RunContext {
            merge_base_ref: Some("refs/heads/main".into()),
            ..run("merge_group", "refs/heads/gh-readonly-queue/main/pr-7-abc")
        };
        for (run, scope, writes) in [
            (run("push", "refs/heads/main"), "trusted", true),
            (run("schedule", "refs/heads/main"), "trusted", true),
            (run("workflow_dispatch", "refs/heads/main"), "trusted", true),
            (run("repository_dispatch", "refs/heads/main"), "trusted", true),
            (queue, "trusted", true),
            (run("push", "refs/heads/release/1"), "trusted", true),
            (run("push", "refs/tags/v1"), "trusted", true),
            (run("push", "refs/heads/feature/x"), "branch/feature/x", true),
            (run("push", "refs/tags/main"), "branch/tags/main", false),
            (run("push", "refs/tags/v2.1"), "trusted", true),
            (run("release", "refs/tags/v2.1"), "branch/tags/v2.1", false),
            (run("create", "refs/heads/main"), "branch/main", false),
            (run("deployment", "refs/heads/main"), "branch/main", false),
            (
                run("merge_group", "refs/heads/gh-readonly-queue/x"),
                "branch/gh-readonly-queue/x",
                true,
            ),
            (pull_request("pull_request", true), "pr/7", true),
            (pull_request("pull_request", false), "pr/7", false),
            (pull_request("pull_request_target", true), "pr/7", false),
            (run("issue_comment", "refs/heads/main"), "branch/main", false),
            (run("workflow_run", "refs/heads/main"), "branch/main", false),
            (run("issues", "refs/heads/main"), "branch/main", false),
            (run("", ""), "branch/unknown", false),
        ] {
            let trusted =
                ["release/1".to_owned(), "refs/tags/v1".to_owned(), "refs/tags/v2*".to_owned()];
            let access = access(Some(&run), &trusted, ReadScopes::Own);
            assert_eq!(
                (access.own.to_string().as_str(), access.read_only.is_none()),
                (scope, writes),
                "{run:?}"
            );
            // A run that may not write its own scope must not read that scope either.
            assert!(writes || access.reads == [Scope::Trusted], "{run:?}");
        }
    }

    #[test]
    fn a_trusted_run_reads_only_trusted() {
        assert_eq!(
            access(Some(&run("push", "refs/heads/main")), &[], ReadScopes::Own).reads,
            [Scope::Trusted]
        );
        let reads = access(Some(&pull_request("pull_request", true)), &[], ReadScopes::Own).reads;
        assert_eq!(reads, [Scope::PullRequest(7), Scope::Trusted]);
    }

    #[test]
    fn trusted_read_scopes_add_only_the_models_of_this_run() {
        let read = |run: &RunContext| {
            let access = access(Some(run), &[], ReadScopes::Trusted);
            (access.reads, access.reads_this_run)
        };
        let trusted = vec![Scope::Trusted];
        assert_eq!(read(&pull_request("pull_request", true)), (trusted.clone(), true));
        assert_eq!(read(&run("push", "refs/heads/feature")), (trusted.clone(), true));
        assert_eq!(read(&run("push", "refs/heads/main")), (trusted.clone(), false));
        assert_eq!(read(&pull_request("pull_request", false)), (trusted, false));
        let blind =
            RunContext { cache_mode: CacheMode::WriteOnly, ..pull_request("pull_request", true) };
        assert_eq!(read(&blind), (Vec::new(), false));
    }

    #[test]
    fn without_a_known_default_branch_nothing_is_trusted() {
        let unknown = |event| RunContext { default_branch: None, ..run(event, "refs/heads/main") };
        for event in ["push", "workflow_dispatch", "repository_dispatch"] {
            assert_eq!(
                access(Some(&unknown(event)), &[], ReadScopes::Own).own,
                Scope::Branch("main".into())
            );
        }
        // GitHub starts schedules on the default branch only.
        assert_eq!(access(Some(&unknown("schedule")), &[], ReadScopes::Own).own, Scope::Trusted);
    }

    #[test]
    fn who_may_be_the_default_branch_and_is_not_trusted_is_told_so() {
        let unknown = |event, git_ref| RunContext { default_branch: None, ..run(event, git_ref) };
        let told = |run: &RunContext, trusted: &[String]| {
            doubt(run, &access(Some(run), trusted, ReadScopes::Own)).is_some()
        };
        for (event, git_ref, wanted) in [
            ("push", "refs/heads/main", true),
            ("workflow_dispatch", "refs/heads/main", true),
            ("push", "refs/tags/v1", false),
            ("schedule", "refs/heads/main", false),
            ("pull_request", "refs/pull/7/merge", false),
        ] {
            assert_eq!(told(&unknown(event, git_ref), &[]), wanted, "{event} {git_ref}");
        }
        assert!(!told(&unknown("push", "refs/heads/main"), &["main".to_owned()]));
        assert!(!told(&run("push", "refs/heads/feature"), &[]));
    }

    #[test]
    fn the_cache_mode_is_honoured() {
        for (cache_mode, reads, writes) in [
            (CacheMode::ReadWrite, true, true),
            (CacheMode::Read, true, false),
            (CacheMode::WriteOnly, false, true),
            (CacheMode::None, false, false),
        ] {
            let access = access(
                Some(&RunContext { cache_mode, ..run("push", "refs/heads/main") }),
                &[],
                ReadScopes::Own,
            );
            assert_eq!(
                (!access.reads.is_empty(), access.read_only.is_none()),
                (reads, writes),
                "{cache_mode:?}"
            );
        }
    }
}
