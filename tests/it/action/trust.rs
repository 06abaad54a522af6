//! The write access of pull requests, forks, branches and cache modes.

use serde_json::json;

use super::runner::{Runner, Step};

impl Runner {
    /// Runs the main step, a training if needed, and the post step.
    fn job(&self, weights: &str) -> (Step, Step) {
        let main = self.main();
        main.succeeds();
        if main.output("retrain-needed") == "true" {
            self.train(weights);
        }
        let post = self.post(&main);
        post.succeeds();
        (main, post)
    }

    /// Makes this a job on another branch.
    pub(super) fn on_branch(&mut self, name: &str) {
        self.env("GITHUB_REF", &format!("refs/heads/{name}"));
    }
}

/// Demands that the post step succeeds and warns why it did not save.
#[track_caller]
fn not_saved(step: &Step, why: &str) {
    step.succeeds();
    let warnings: Vec<&str> =
        step.log.lines().filter(|line| line.starts_with("::warning::")).collect();
    assert!(
        warnings.iter().any(|line| line.contains("not saved") && line.contains(why)),
        "{}",
        step.log
    );
    assert!(step.summary.contains("not saved"), "{}", step.summary);
}

#[test]
fn a_pull_request_from_a_fork_reads_and_never_writes() {
    let mut fork = Runner::trained().next_job();
    fork.pull_request("stranger/fraud-detection");
    let before = fork.objects("v1");
    let (main, _) = fork.job("");
    assert_eq!(main.pick(["reason", "restored"]), ["hit", "true"]);
    assert_eq!(fork.read("models/model.bin"), "weights");

    let mut fork = fork.next_job();
    fork.write("data/a.csv", "poison");
    let (main, post) = fork.job("poison");
    assert_eq!(main.output("retrain-needed"), "true");
    not_saved(&post, "pull request from a fork");
    fork.input("fingerprint", "");
    let save = fork.step("save");
    not_saved(&save, "pull request from a fork");
    assert_eq!(save.pick(["saved", "cache-hit", "pointer"]), ["false", "false", ""]);
    assert_eq!(fork.objects("v1"), before, "not even a blob");
}

#[test]
fn a_pull_request_whose_branch_is_gone_counts_as_a_fork() {
    let mut runner = Runner::new();
    runner.pull_request("acme/fraud-detection");
    let request = json!({
        "number": 7, "head": {"repo": null},
        "base": {"repo": {"full_name": "acme/fraud-detection"}},
    });
    runner.event(&json!({"pull_request": request}));
    let (_, post) = runner.job("weights");
    not_saved(&post, "pull request from a fork");
    assert!(runner.objects("v1").is_empty());
}

#[test]
fn a_pull_request_writes_only_to_its_own_scope() {
    let mut request = Runner::trained().next_job();
    request.pull_request("acme/fraud-detection");
    let trusted = request.objects("v1/trusted");
    request.write("data/a.csv", "new data");
    let (main, _) = request.job("from the request");
    assert_eq!(main.output("reason"), "data-changed");
    assert_eq!(request.objects("v1/trusted"), trusted);
    let written = request.objects("v1/untrusted");
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(
        written
            .iter()
            .all(|key| key.starts_with("v1/untrusted/acme/fraud-detection/pr%2F7/fraud/")),
        "{written:?}"
    );
    assert!(written.iter().any(|key| key.contains("/heads/better-features.json ")), "{written:?}");

    // The pull request's next run finds the model; the default branch does not.
    let (main, _) = request.next_job().job("");
    assert_eq!(main.pick(["reason", "restored"]), ["hit", "true"]);
    let mut push = request.next_job();
    for (name, value) in
        [("GITHUB_EVENT_NAME", "push"), ("GITHUB_REF", "refs/heads/main"), ("GITHUB_HEAD_REF", "")]
    {
        push.env(name, value);
    }
    push.event(&json!({}));
    let (main, _) = push.job("from main");
    assert_eq!(main.output("reason"), "data-changed", "what a request trained is not deployed");
    assert_eq!(push.next_job().main().output("retrain-needed"), "false");
}

#[test]
fn a_pull_request_that_finds_a_trusted_model_writes_nothing() {
    let mut request = Runner::trained().next_job();
    request.pull_request("acme/fraud-detection");
    let before = request.objects("v1/trusted");
    let (main, _) = request.job("");
    assert_eq!(main.pick(["reason", "restored"]), ["hit", "true"]);
    assert_eq!(request.objects("v1/trusted"), before);
    assert!(request.objects("v1/untrusted").iter().all(|key| key.contains("/heads/")));
}

#[test]
fn a_forced_pull_request_replaces_no_trusted_model() {
    let mut request = Runner::trained().next_job();
    request.pull_request("acme/fraud-detection");
    request.input("force-retrain", "true");
    let before = request.objects("v1/trusted");
    request.job("from the request");
    assert_eq!(request.objects("v1/trusted"), before);
    let own: Vec<_> =
        request.pointers().into_iter().filter(|pointer| pointer["scope"] == "pr/7").collect();
    assert_eq!((own.len(), &own[0]["generation"]), (1, &json!(1)));
}

#[test]
fn an_entry_of_a_merge_queue_creates_and_never_replaces() {
    let queue = |from: &Runner| {
        let mut queue = from.next_job();
        queue.env("GITHUB_EVENT_NAME", "merge_group");
        queue.env("GITHUB_REF", "refs/heads/gh-readonly-queue/main/pr-7-abc");
        queue.event(&json!({"merge_group": {"base_ref": "refs/heads/main"}}));
        queue
    };
    let runner = Runner::trained();
    runner.edit_pointer(|pointer| pointer["created_at"] = json!("2020-01-01T00:00:00Z"));
    let pointer = runner.pointers();
    for (input, value) in [("force-retrain", "true"), ("max-age", "1d")] {
        let mut entry = queue(&runner);
        entry.input(input, value);
        let (main, post) = entry.job("never merged");
        assert_eq!(main.output("retrain-needed"), "true", "{input}: {}", main.log);
        assert_eq!(entry.pointers(), pointer, "{input}");
        assert!(post.log.contains("an entry of a merge queue replaces no"), "{}", post.log);
    }
    let runner = Runner::trained();
    let pointer = runner.pointers();
    runner.remove_a_blob();
    let entry = queue(&runner);
    let (main, _) = entry.job("never merged");
    assert_eq!(main.output("reason"), "incomplete");
    assert_eq!(entry.pointers(), pointer, "not even where objects are missing");
    let entry = queue(&runner);
    entry.write("data/a.csv", "new data");
    entry.job("checked before the merge");
    assert_eq!(entry.pointers().len(), 2, "what no run trained before may be created");
}

#[test]
fn branches_are_scopes_of_their_own_unless_they_are_trusted() {
    let mut branch = Runner::trained().next_job();
    branch.on_branch("feature/x");
    branch.write("data/a.csv", "branch");
    branch.job("branch");
    let written = branch.objects("v1/untrusted");
    assert!(written.iter().all(|key| key.contains("/branch%2Ffeature%2Fx/fraud/")), "{written:?}");

    let mut sibling = branch.next_job();
    sibling.on_branch("feature/y");
    assert_eq!(
        sibling.main().output("retrain-needed"),
        "true",
        "a branch does not read its siblings"
    );

    let mut release = branch.next_job();
    release.on_branch("release/1");
    release.input("trusted-refs", "release/1");
    release.job("release");
    let scopes: Vec<_> =
        release.pointers().iter().map(|pointer| pointer["scope"].clone()).collect();
    assert_eq!(scopes.iter().filter(|scope| **scope == "trusted").count(), 2, "{scopes:?}");
}

#[test]
fn events_that_outsiders_cause_never_write() {
    for event in
        ["pull_request_target", "issue_comment", "workflow_run", "issues", "something_new", ""]
    {
        let mut runner = Runner::new();
        runner.env("GITHUB_EVENT_NAME", event);
        let (_, post) = runner.job("weights");
        not_saved(&post, "never write");
        assert!(runner.objects("v1").is_empty(), "{event}");
    }
}

/// With the role of a pull request, anybody can write into every scope except the trusted scope.
#[test]
fn events_that_never_write_read_only_what_is_trusted() {
    for (event, git_ref, scope) in [
        ("workflow_run", "refs/heads/main", "branch/main"),
        ("issue_comment", "refs/heads/main", "branch/main"),
        ("deployment", "refs/heads/main", "branch/main"),
        ("release", "refs/tags/v1", "branch/tags/v1"),
        ("push", "refs/tags/v1", "branch/tags/v1"),
        ("pull_request_target", "refs/heads/main", "pr/7"),
    ] {
        let mut runner = Runner::trained().next_job();
        // A poisoned model: a copy of the trusted pointer and head, in the scope of the ref.
        runner.plant(scope);
        let untrusted = runner.objects("v1/untrusted");
        assert_eq!(untrusted.len(), 2, "{untrusted:?}");
        if event == "pull_request_target" {
            runner.pull_request("acme/fraud-detection");
        }
        runner.env("GITHUB_EVENT_NAME", event);
        runner.env("GITHUB_REF", git_ref);
        let no_paths = [("data-paths", ""), ("training-paths", "")];
        for step in [
            runner.main(),
            runner.step_with("restore", &no_paths),
            runner.step_with("resolve", &no_paths),
        ] {
            step.succeeds();
            let pointer: serde_json::Value = serde_json::from_str(step.output("pointer")).unwrap();
            assert_eq!(pointer["scope"], "trusted", "{event}: {}", step.log);
        }
    }
}

/// Somebody with the role of a pull request writes claims into a pointer of its scope.
#[test]
fn claims_of_an_untrusted_pointer_are_no_facts() {
    let mut request = Runner::new();
    request.pull_request("acme/fraud-detection");
    request.job("weights");
    let request = request.next_job();
    let mut honest = request.pointers()[0].clone();
    // On a slow machine even this training takes seconds, which would be another claim.
    honest["train_seconds"] = json!(0);
    let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
        request.edit_pointer(|pointer| {
            *pointer = honest.clone();
            edit(pointer);
        });
        request.step("plan")
    };
    for (field, value) in [
        ("ref", json!("refs/heads/main")),
        ("ref", json!("refs/pull/8/merge")),
        ("event", json!("push")),
        ("repository_id", json!(4243)),
    ] {
        let step = edited(&|pointer| pointer["producer"][field] = value.clone());
        step.fails(4, &["cannot be used", "hint: remove that object"]);
        assert!(!step.log.contains("Made by"), "{}", step.log);
    }
    edited(&|pointer| pointer["producer"] = json!(null)).fails(4, &["it names no run"]);

    // A repository that shares the namespace has another number. Who forced is a claim.
    let step = edited(&|pointer| {
        pointer["schema"] = json!("ml-cache/pointer/v2");
        pointer["producer"]["repository"] = json!("acme/another");
        pointer["producer"]["repository_id"] = json!(7);
        pointer["producer"]["run_id"] = json!(999);
        let by = json!({"by": "octocat", "source": "label", "detail": "retrain"});
        pointer["forced"] = by;
    });
    step.succeeds();
    for claim in ["run 999 of acme/another", "the label `retrain` (run started by octocat)"] {
        let claim = format!("according to its pointer, {claim}");
        assert!(step.log.contains(&claim), "{}", step.log);
    }
    assert_eq!(step.summary.matches("according to its pointer, ").count(), 2, "{}", step.summary);
    assert!(!step.log.contains("  run 999"), "{}", step.log);

    // The manifest has the numbers. How long the training took is a claim.
    let step = edited(&|pointer| {
        for field in ["files", "bytes", "train_seconds"] {
            pointer[field] = json!((1_u64 << 53) - 1);
        }
    });
    assert_eq!(step.pick(["model-files", "model-bytes"]), ["1", "7"], "{}", step.log);
    assert!(!step.log.contains("PiB") && !step.summary.contains("PiB"), "{}", step.log);
    assert!(step.log.contains("according to its pointer, 9007199254740991 s"), "{}", step.log);
    for phase in ["restore", "resolve"] {
        let step = request.step(phase);
        assert_eq!(step.pick(["model-files", "model-bytes"]), ["1", "7"], "{}", step.log);
    }
    // A save that keeps the stored model shows its numbers, too.
    request.train("others");
    let step = request.step("save");
    assert_eq!(step.pick(["saved", "model-files", "model-bytes"]), ["false", "1", "7"]);

    // The same facts of a trusted model are facts.
    let trusted = Runner::trained().next_job().step("plan");
    assert!(trusted.log.contains("run 1001") && !trusted.log.contains("according to"));
}

#[test]
fn a_run_of_a_merged_pull_request_reads_its_own_model() {
    let mut request = Runner::new();
    request.pull_request("acme/fraud-detection");
    // GitHub names the branch that received the commits.
    request.env("GITHUB_REF", "refs/heads/main");
    request.job("weights");
    let next = request.next_job();
    assert_eq!(next.pointers()[0]["producer"]["ref"], "refs/pull/7/merge");
    assert_eq!(next.main().output("reason"), "hit");
}

#[test]
fn a_head_that_is_not_moved_is_told() {
    let mut runner = Runner::trained().next_job();
    let told = |runner: &Runner, line: &str| {
        let main = runner.main();
        main.succeeds();
        assert!(main.log.contains(line), "{}", main.log);
        assert_eq!(main.log.contains("(its head) stays"), !line.is_empty(), "{}", main.log);
    };
    told(&runner, "");
    runner.env("GITHUB_RUN_ID", "1000");
    told(&runner, "fraud: the latest model of `main` (its head) stays at the later run 1002");
    runner.env("GITHUB_RUN_ID", "1001");
    runner.edit_head(|head| head["run_id"] = json!(9_007_199_254_740_991_u64));
    let key = "v1/trusted/acme/fraud-detection/fraud/head.json";
    told(
        &runner,
        &format!(
            "::warning::the latest model of `main` (its head) stays at run \
        9007199254740991, but no run has this number yet; remove `{key}` from the store"
        ),
    );
}

#[test]
fn a_hit_of_an_event_that_may_not_write_moves_no_head() {
    let mut runner = Runner::trained().next_job();
    let before = runner.objects("v1");
    runner.env("GITHUB_EVENT_NAME", "issue_comment");
    let (main, _) = runner.job("");
    assert_eq!(main.output("reason"), "hit");
    runner.step("plan").succeeds();
    assert_eq!(runner.objects("v1"), before);
}

#[test]
fn the_cache_mode_read_reads_and_does_not_write() {
    let mut runner = Runner::trained().next_job();
    runner.env("ACTIONS_CACHE_MODE", "read");
    let before = runner.objects("v1");
    assert_eq!(runner.job("").0.output("restored"), "true");
    let runner = runner.next_job();
    runner.write("data/a.csv", "changed");
    let (_, post) = runner.job("changed");
    not_saved(&post, "ACTIONS_CACHE_MODE");
    assert_eq!(runner.objects("v1"), before);
}

#[test]
fn the_cache_mode_none_neither_reads_nor_writes() {
    let mut runner = Runner::trained().next_job();
    runner.env("ACTIONS_CACHE_MODE", "none");
    let before = runner.objects("v1");
    let main = runner.main();
    main.fails(1, &["ACTIONS_CACHE_MODE", "hint:", "on-error: retrain"]);
    assert_eq!(main.output("retrain-needed"), "true");
    runner.step_with("restore", &[]).fails(1, &["ACTIONS_CACHE_MODE"]);
    runner.input("on-error", "retrain");
    let (main, post) = runner.job("weights");
    assert_eq!(main.pick(["reason", "cache-hit"]), ["store-unavailable", "false"]);
    not_saved(&post, "ACTIONS_CACHE_MODE");
    assert_eq!(runner.objects("v1"), before);
}

#[test]
fn the_cache_mode_write_only_writes_and_does_not_read() {
    let mut runner = Runner::new();
    runner.env("ACTIONS_CACHE_MODE", "write-only");
    runner.input("on-error", "retrain");
    let (main, _) = runner.job("weights");
    assert_eq!(main.output("reason"), "store-unavailable");
    assert_eq!(runner.pointers().len(), 1);
    let mut reader = runner.next_job();
    reader.env("ACTIONS_CACHE_MODE", "write");
    assert_eq!(reader.main().output("reason"), "hit");
}

#[test]
fn a_namespace_keeps_models_of_several_repositories_apart() {
    let mut runner = Runner::trained().next_job();
    runner.input("namespace", "acme/shared");
    let (main, _) = runner.job("shared");
    assert_eq!(main.output("reason"), "no-model");
    let mut other = runner.next_job();
    other.env("GITHUB_REPOSITORY", "acme/another");
    let restored = other.main();
    assert_eq!(restored.pick(["reason", "restored"]), ["hit", "true"]);
    assert_eq!(other.read("models/model.bin"), "shared");
}
