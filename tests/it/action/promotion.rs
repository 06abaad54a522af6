//! The default branch takes over a merged pull request's model if GitHub's API proves its origin.
//! Every missing piece of the proof leads to a training.

use std::fs;

use hyper::Method;
use serde_json::{Value, json};

use super::runner::{Runner, Step};
use crate::support::cli::{noise, snapshot};
use crate::support::double::Double;
use crate::support::s3::{Change, Fault, Server};

const REPOSITORY: &str = "acme/fraud-detection";
pub(super) const HEAD: &str = "1111111111111111111111111111111111111111";
pub(super) const MERGE: &str = "6f1e2d3c4b5a69788796a5b4c3d2e1f001122334";
const WORKFLOW: &str = ".github/workflows/train.yml";
/// The number of the pull request's run, which trains.
const TRAINING: u64 = 1001;

/// A workflow file whose steps read nothing untrusted through this action.
const PROVING: &str = "on: push\njobs: {train: {steps: [
  {name: Plan, uses: org/ml-cache-action@v1, with: {read-scopes: trusted}}]}}\n";

/// The state of GitHub after an honest merge.
pub(super) fn merged() -> Value {
    let file = |sha: &str| {
        json!({
            "repository": REPOSITORY, "ref": sha, "path": WORKFLOW, "content": PROVING,
        })
    };
    json!({
        "repositories": {
            REPOSITORY: {
                "id": 4242, "default_branch": "main", "private": true, "refs": {"main": MERGE},
            },
            "evil/fork": {"id": 666, "default_branch": "main", "fork": true},
        },
        "tokens": {"job": {
            "kind": "installation", "repositories": [REPOSITORY],
            "permissions": {
                "actions": "read", "contents": "read", "pull_requests": "read", "metadata": "read",
            },
        }},
        "pulls": [{
            "repository": REPOSITORY, "number": 7, "state": "closed", "merged": true,
            "merge_commit_sha": MERGE,
            "head": {"ref": "better-features", "sha": HEAD, "repo": REPOSITORY},
            "base": {
                "ref": "main", "sha": "2222222222222222222222222222222222222222",
                "repo": REPOSITORY,
            },
            "labels": [], "commits": [HEAD],
        }],
        "runs": [{
            "id": TRAINING, "repository": REPOSITORY, "head_repository": REPOSITORY,
            "head_branch": "better-features",
            "head_sha": HEAD, "event": "pull_request", "status": "completed",
            "conclusion": "success", "path": WORKFLOW,
            "pull_requests": [7],
        }],
        "commits": [
            {"repository": REPOSITORY, "sha": MERGE, "message": "Merge pull request #7"},
            {"repository": REPOSITORY, "sha": HEAD, "message": "better features"},
        ],
        "files": [file(HEAD), file(MERGE)],
    })
}

/// A pull request whose run trained and saved.
pub(super) fn trained() -> (Double, Runner) {
    let (double, request) = trained_by(Runner::new());
    assert_eq!(request.pointers().len(), 1);
    (double, request)
}

/// Turns a job into the run of a pull request, and lets it train and save.
fn trained_by(mut request: Runner) -> (Double, Runner) {
    let double = Double::start();
    double.control("state", &json!({"repositories": merged()["repositories"]}));
    request.pull_request(REPOSITORY);
    for (name, value) in double.job(json!({"run_id": TRAINING})) {
        request.env(&name, &value);
    }
    let main = request.main();
    request.train("weights of the pull request");
    request.post(&main).succeeds();
    (double, request)
}

/// The push that the merge caused.
pub(super) fn push(request: &Runner) -> Runner {
    let mut push = request.next_job();
    push.event(&json!({"head_commit": {"id": MERGE, "message": "Merge pull request #7"}}));
    for (name, value) in [
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF", "refs/heads/main"),
        ("GITHUB_HEAD_REF", ""),
        ("GITHUB_BASE_REF", ""),
        ("GITHUB_SHA", MERGE),
        ("GITHUB_WORKFLOW_REF", &format!("{REPOSITORY}/{WORKFLOW}@refs/heads/main")),
    ] {
        push.env(name, value);
    }
    push.input("github-token", "job");
    push.input("promote", "merged-pull-request");
    push
}

/// The main step of the push, while GitHub's state is `state`.
fn pushed(double: &Double, request: &Runner, state: &Value) -> (Runner, Step) {
    double.control("state", state);
    let mut push = push(request);
    push.env("GITHUB_API_URL", &double.url);
    let step = push.main();
    (push, step)
}

#[track_caller]
pub(super) fn retrains(push: &Runner, step: &Step, why: &str) {
    trains(step, why);
    assert!(push.objects("v1/trusted").is_empty(), "nothing is trusted");
}

/// Demands a training, and that the log says why.
#[track_caller]
fn trains(step: &Step, why: &str) {
    step.succeeds();
    assert_eq!(step.pick(["retrain-needed", "restored"]), ["true", "false"], "{}", step.log);
    assert!(
        step.log.contains("nothing is promoted") && step.log.contains(why),
        "{why:?} is not in\n{}",
        step.log
    );
}

/// Demands that the step restored the merged model and asks for no training.
#[track_caller]
fn restores(step: &Step) {
    step.succeeds();
    assert_eq!(
        step.pick(["reason", "restored", "retrain-needed"]),
        ["hit", "true", "false"],
        "{}",
        step.log
    );
}

#[test]
fn a_merged_model_is_taken_over_with_its_lineage() {
    let (double, request) = trained();
    let (push, step) = pushed(&double, &request, &merged());
    restores(&step);
    assert_eq!(push.read("models/model.bin"), "weights of the pull request");
    let pointer: Value = serde_json::from_str(step.output("pointer")).unwrap();
    assert_eq!(pointer["scope"], "trusted");
    assert_eq!(pointer["schema"], "ml-cache/pointer/v2");
    assert_eq!(pointer["producer"]["run_id"], TRAINING, "who trained stays");
    let promotion = &pointer["promotion"];
    assert_eq!(promotion["pull_request"], 7);
    assert_eq!([&promotion["head_sha"], &promotion["merge_sha"]], [HEAD, MERGE]);
    assert_eq!(promotion["run_id"], TRAINING);
    assert_eq!(promotion["by"]["run_id"], TRAINING + 1);
    assert_eq!(promotion["by"]["event"], "push");
    assert!(step.summary.contains("| Promoted | from pull request"), "{}", step.summary);
    // From now on it is a trusted model like any other, so the next job asks the API nothing.
    let mut next = push.next_job();
    next.input("promote", "never");
    let step = next.main();
    restores(&step);
    next.post(&step).succeeds();
}

#[test]
fn nothing_is_promoted_unless_it_is_asked_for() {
    let (double, request) = trained();
    double.control("state", &merged());
    let mut push = push(&request);
    push.env("GITHUB_API_URL", &double.url);
    push.input("promote", "");
    let step = push.main();
    assert_eq!(step.output("retrain-needed"), "true");
    assert!(push.objects("v1/trusted").is_empty());
    let asked = double.look("requests").to_string();
    assert!(!asked.contains("/pulls"), "{asked}");
}

#[test]
fn without_a_repository_id_the_payload_says_it() {
    for (payload, why) in [
        (json!({}), None),
        (
            json!({"repository": {"full_name": REPOSITORY, "default_branch": "main"}}),
            Some("GITHUB_REPOSITORY_ID"),
        ),
    ] {
        let (double, request) = trained();
        double.control("state", &merged());
        let mut push = push(&request);
        push.env("GITHUB_API_URL", &double.url);
        push.env("GITHUB_REPOSITORY_ID", "");
        push.event(&payload);
        let step = push.main();
        match why {
            None => restores(&step),
            Some(why) => retrains(&push, &step, why),
        }
    }
}

/// Returns the state of an honest merge with another value at this path.
fn with(path: &[&str], value: Value) -> Value {
    let mut state = merged();
    let mut place = &mut state;
    for name in path {
        place = match name.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[*name],
        };
    }
    *place = value;
    state
}

#[test]
fn a_proof_with_a_hole_promotes_nothing() {
    for (state, why) in [
        (with(&["pulls"], json!([])), "merged no pull request"),
        (with(&["pulls", "0", "merged"], json!(false)), "not merged"),
        (with(&["pulls", "0", "merge_commit_sha"], json!(HEAD)), "merged no pull request"),
        (with(&["pulls", "0", "head", "repo"], json!("evil/fork")), "comes from a fork"),
        (with(&["pulls", "0", "head", "repo"], Value::Null), "comes from a fork"),
        (with(&["pulls", "0", "base", "ref"], json!("release")), "not into the default branch"),
        (with(&["pulls", "0", "number"], json!(8)), "it trained no model of these inputs"),
        (
            with(&["pulls", "0", "head", "sha"], json!(MERGE)),
            "no successful `pull_request` run for",
        ),
        (with(&["runs"], json!([])), "no successful `pull_request` run for"),
        (
            with(&["runs", "0", "conclusion"], json!("failure")),
            "no successful `pull_request` run for",
        ),
        (
            with(&["runs", "0", "event"], json!("workflow_dispatch")),
            "no successful `pull_request` run for",
        ),
        (with(&["runs", "0", "path"], json!(".github/workflows/evil.yml")), "it is not a run of"),
        (with(&["runs", "0", "path"], json!(format!("{WORKFLOW}@evil.yml"))), "it is not a run of"),
        (
            with(&["runs", "0", "head_branch"], json!("another-branch-at-the-same-commit")),
            "for another branch",
        ),
        (
            with(&["runs", "0", "head_repository"], json!("evil/fork")),
            "not from the repository itself",
        ),
        (with(&["runs", "0", "id"], json!(5)), "no artifact with the store's pointer"),
        (
            with(&["runs", "0", "referenced_workflows"], Value::Null),
            "GitHub does not say which workflows it calls",
        ),
        (
            with(&["files", "1", "content"], json!("on: push # reviewed")),
            "differs between the commit that the run followed",
        ),
        (with(&["files"], json!([])), "cannot be read at"),
        (with(&["tokens", "job", "permissions"], json!({"metadata": "read"})), "403"),
    ] {
        let (double, request) = trained();
        let (push, step) = pushed(&double, &request, &state);
        retrains(&push, &step, why);
    }
}

#[test]
fn a_call_of_the_program_in_any_form_is_no_proof() {
    let (double, request) = trained();
    for step in [
        "{run: 'docker run ghcr.io/org/ml-cache-action:0.1.0 restore'}",
        "{run: ml-cache-restore}",
        "{run: x, env: {name: ml-cache restore}}",
    ] {
        let text = PROVING.replace("[\n", &format!("[{step},\n"));
        let mut state = merged();
        for file in [0, 1] {
            state["files"][file]["content"] = json!(text);
        }
        let (push, step) = pushed(&double, &request, &state);
        retrains(&push, &step, "calls the program");
    }
}

/// The run that vouches may have restored a poisoned checkpoint, or another model, from `pr/7`.
#[test]
fn a_workflow_that_may_read_untrusted_models_is_no_proof() {
    let (double, request) = trained();
    for (step, why) in [
        (
            "{name: Fetch, uses: org/ml-cache-action/restore@v1}",
            "the step `Fetch` of the job `train`",
        ),
        (
            "{name: Fetch, uses: org/ml-cache-action@v1, with: {read-scopes: '${{ vars.X }}'}}",
            "by an expression",
        ),
        ("{name: Fetch, uses: ./.github/actions/fetch}", "an action of the checkout"),
        ("{name: Keep, uses: org/ml-cache-action/save@v1}", "the step `Keep` of the job `train`"),
        ("{run: $MLC restore, env: {MLC: /opt/ml-cache}}", "an expression or a variable names"),
        ("{<<: {uses: org/ml-cache-action/restore@v1}}", "no plain text"),
        ("{run: ml-cache restore --model checkpoints}", "calls the program"),
    ] {
        let text = PROVING.replace("[\n", &format!("[{step},\n"));
        assert_ne!(text, PROVING);
        let mut state = merged();
        for file in [0, 1] {
            state["files"][file]["content"] = json!(text);
        }
        let (push, step) = pushed(&double, &request, &state);
        retrains(&push, &step, why);
    }
}

/// A called workflow of another repository restores for the run that vouches.
#[test]
fn a_foreign_called_workflow_must_prove_it_too() {
    let shared = "acme/shared/.github/workflows/train.yml";
    let referenced = json!([{"path": format!("{shared}@v1"), "sha": STABLE}]);
    let content = |text: &str| {
        let mut state = with(&["runs", "0", "referenced_workflows"], referenced.clone());
        state["repositories"]["acme/shared"] = json!({"id": 5, "default_branch": "main"});
        state["files"].as_array_mut().unwrap().push(json!({
            "repository": "acme/shared", "ref": STABLE, "path": ".github/workflows/train.yml",
            "content": text,
        }));
        state
    };
    let (double, request) = trained();
    let unseen = with(&["runs", "0", "referenced_workflows"], referenced.clone());
    let (push, step) = pushed(&double, &request, &unseen);
    retrains(&push, &step, "cannot be read at");
    let (push, step) = pushed(&double, &request, &content(&PROVING.replace("trusted", "own")));
    retrains(&push, &step, "lets the run read untrusted models");
    let (_, step) = pushed(&double, &request, &content(PROVING));
    restores(&step);
}

/// The merged branch has a second pull request, to a branch with another workflow. A run of the
/// second has the same commit and branch, but followed the other workflow.
#[test]
fn a_second_pull_request_with_another_base_is_noticed() {
    let (double, request) = trained();
    let mut state = merged();
    let mut second = state["pulls"][0].clone();
    second["number"] = json!(8);
    second["merged"] = json!(false);
    second["merge_commit_sha"] = Value::Null;
    second["base"]["ref"] = json!("base-with-another-workflow");
    state["pulls"].as_array_mut().unwrap().push(second);
    let (push, step) = pushed(&double, &request, &state);
    retrains(&push, &step, "pull request #8 has the same branch");
}

/// The same attack with a single pull request: its base changed to the default branch after its
/// run.
#[test]
fn a_pull_request_that_went_elsewhere_before_is_noticed() {
    let (double, request) = trained();
    let events = json!(["labeled", "base_ref_changed", "merged", "closed"]);
    let (push, step) = pushed(&double, &request, &with(&["pulls", "0", "events"], events));
    retrains(&push, &step, "its base branch was changed");
}

/// A merge whose training called another workflow of the repository.
///
/// The run took that file from the commit `sha`, by the ref `git_ref`. `contents` lists the file's
/// content by commit.
fn calling(git_ref: &str, sha: &str, contents: &[(&str, &str)]) -> Value {
    let called = ".github/workflows/shared.yml";
    let referenced = json!([{"path": format!("{REPOSITORY}/{called}@{git_ref}"), "sha": sha}]);
    let mut state = with(&["runs", "0", "referenced_workflows"], referenced);
    for (sha, content) in contents {
        let content = format!("{PROVING}# {content}");
        let file =
            json!({"repository": REPOSITORY, "ref": sha, "path": called, "content": content});
        state["files"].as_array_mut().unwrap().push(file);
    }
    state
}

/// The trial merge commit whose workflow the pull request's run followed.
const TRIAL: &str = "3333333333333333333333333333333333333333";
const STABLE: &str = "4444444444444444444444444444444444444444";

#[test]
fn a_called_workflow_of_the_repository_must_be_the_same_too() {
    for (git_ref, sha, then) in [
        ("refs/pull/7/merge", HEAD, "evil"),
        // The merged commit's version does not count if the run called another version. A moved ref
        // or a second attempt could cause that.
        ("refs/pull/7/merge", TRIAL, "evil"),
        ("better-features", STABLE, "evil"),
        ("stable", STABLE, "evil"),
    ] {
        let (double, request) = trained();
        let state = calling(git_ref, sha, &[(HEAD, "good"), (MERGE, "good"), (sha, then)]);
        let (push, step) = pushed(&double, &request, &state);
        retrains(&push, &step, "shared.yml` differs between the commit");
    }
    // A commit that the API no longer has proves nothing.
    let (double, request) = trained();
    let (push, step) =
        pushed(&double, &request, &calling("stable", STABLE, &[(HEAD, "good"), (MERGE, "good")]));
    retrains(&push, &step, "shared.yml` of `acme/fraud-detection` cannot be read at");
}

#[test]
fn a_called_workflow_that_is_the_merged_one_is_in_nobodys_way() {
    for sha in [HEAD, TRIAL] {
        let (double, request) = trained();
        let state = calling("refs/pull/7/merge", sha, &[(sha, "good"), (MERGE, "good")]);
        let (_, step) = pushed(&double, &request, &state);
        restores(&step);
    }
}

/// GitHub says `null` if it does not know which workflows a run calls.
#[test]
fn a_run_of_which_little_is_known_does_not_hide_another_one() {
    let (double, request) = trained();
    let mut state = merged();
    let mut other = state["runs"][0].clone();
    other["id"] = json!(TRAINING + 9);
    for name in ["referenced_workflows", "head_repository", "head_branch"] {
        other[name] = Value::Null;
    }
    state["runs"].as_array_mut().unwrap().push(other);
    let (_, step) = pushed(&double, &request, &state);
    restores(&step);
}

#[test]
fn a_pointer_that_was_replaced_in_the_store_is_worth_nothing() {
    let (double, request) = trained();
    request.edit_pointer(|pointer| pointer["nonce"] = json!("f".repeat(32)));
    let (push, step) = pushed(&double, &request, &merged());
    retrains(&push, &step, "its pointer differs from the pointer in the store");
}

#[test]
fn a_pointer_planted_before_the_honest_run_proves_nothing() {
    // Somebody with the pull request's role plants a pointer to a model of their own. The honest
    // run finds it, so it does not train, and it does not vouch for the pointer either.
    let (double, request) = trained();
    let mut honest = request.next_job();
    let run = TRAINING + 7;
    request.edit_pointer(|pointer| pointer["producer"]["run_id"] = json!(run));
    for (name, value) in double.job(json!({"run_id": run})) {
        honest.env(&name, &value);
    }
    honest.env("GITHUB_RUN_ID", &run.to_string());
    let main = honest.main();
    assert_eq!(main.output("reason"), "hit");
    honest.post(&main).succeeds();
    let state = with(&["runs", "0", "id"], json!(run));
    let (push, step) = pushed(&double, &honest, &state);
    retrains(&push, &step, "it has no artifact with the store's pointer");
}

#[test]
fn a_pointer_planted_during_the_training_proves_nothing() {
    // The planted pointer even names the honest run as its producer: everybody can see that run's
    // number.
    let (double, request) = trained();
    let run = TRAINING + 7;
    request.edit_pointer(|pointer| pointer["producer"]["run_id"] = json!(run));
    let mut honest = request.next_job();
    for (name, value) in double.job(json!({"run_id": run})) {
        honest.env(&name, &value);
    }
    honest.env("GITHUB_RUN_ID", &run.to_string());
    honest.train("honest weights");
    let save = honest.step("save");
    save.succeeds();
    assert_eq!(save.output("saved"), "false", "the first one stays");
    assert!(
        save.output("artifact-name").starts_with("ml-cache-fraud-adopted-"),
        "{}",
        save.output("artifact-name")
    );
    // A later job of the same run still finds the artifact by its prefix.
    let found = honest.step_with("resolve", &[("pointer", "artifact:ml-cache-fraud")]);
    assert_eq!(found.output("pointer"), save.output("pointer"));
    let (push, step) = pushed(&double, &honest, &with(&["runs", "0", "id"], json!(run)));
    retrains(&push, &step, "it has no artifact with the store's pointer");
}

#[test]
fn only_a_push_to_the_default_branch_promotes() {
    for (name, value) in [
        ("GITHUB_EVENT_NAME", "schedule"),
        ("GITHUB_REF", "refs/heads/release"),
        ("ACTIONS_CACHE_MODE", "read"),
    ] {
        let (double, request) = trained();
        double.control("state", &merged());
        let mut push = push(&request);
        push.env("GITHUB_API_URL", &double.url);
        push.env(name, value);
        let step = push.main();
        assert_eq!(step.output("retrain-needed"), "true", "{name}: {}", step.log);
        assert!(push.objects("v1/trusted").is_empty(), "{name}");
    }
}

/// A pull request's model of several blobs, in a bucket.
fn trained_on(server: &Server) -> (Double, Runner) {
    let request = Runner::on_server(server);
    fs::create_dir(request.path("models")).unwrap();
    fs::write(request.path("models/large.bin"), noise(1, 9 << 20)).unwrap();
    let trained = trained_by(request);
    assert!(server.objects("v1/blobs/").len() > 1 && server.objects("v1/manifests/").len() == 1);
    assert!(
        !server.objects("v1/untrusted/").is_empty() && server.objects("v1/trusted/").is_empty()
    );
    trained
}

/// Changes the bytes of an object; `None` removes it.
type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;

/// Damages an object whose key contains `part`. The server keeps a correct checksum of the new
/// bytes, as after a write by any other client.
fn damage(server: &Server, part: &str, damage: Damage) {
    let (key, path) = server.objects(part).pop().unwrap();
    match damage(fs::read(&path).unwrap()) {
        Some(bytes) => server.overwrite(&key, &bytes),
        None => fs::remove_file(path).unwrap(),
    }
}

fn removed(_: Vec<u8>) -> Option<Vec<u8>> {
    None
}

fn truncated(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    bytes.pop();
    Some(bytes)
}

fn flipped(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    bytes[0] ^= 1;
    Some(bytes)
}

#[test]
fn a_model_with_missing_or_damaged_objects_is_not_promoted() {
    let gone = "objects of the model of pull request #7 are missing or damaged";
    let cases: [(&str, Damage, &str); 6] = [
        ("v1/blobs/", removed, gone),
        ("v1/blobs/", truncated, gone),
        // Only the checksum shows this damage, without fetching a byte.
        ("v1/blobs/", flipped, gone),
        ("v1/manifests/", removed, gone),
        ("v1/manifests/", truncated, "is damaged"),
        ("v1/manifests/", flipped, "is damaged"),
    ];
    for (part, change, why) in cases {
        let server = Server::start();
        let (double, request) = trained_on(&server);
        damage(&server, part, change);
        server.reset();
        let (push, step) = pushed(&double, &request, &merged());
        trains(&step, why);
        assert_eq!(server.objects("v1/trusted/"), [], "nothing is trusted: {part} {}", step.log);
        assert_eq!(server.requests_to(Method::GET, "v1/blobs/").len(), 0);
        assert!(!push.path("models").exists());
    }
}

/// A checksum of the parts of an upload says nothing about the bytes of the whole.
#[test]
fn a_promotion_reads_the_blobs_that_have_no_sha_256() {
    for is_occupied in [true, false] {
        let server = Server::start();
        let (double, request) = trained_on(&server);
        if is_occupied {
            damage(&server, "v1/blobs/", flipped);
        }
        server.reset();
        let kind = Change::Header("x-amz-checksum-type", "COMPOSITE".to_owned());
        server.fault(Method::HEAD, "v1/blobs/", 1.., Fault::Reply(kind));
        let (_, step) = pushed(&double, &request, &merged());
        match is_occupied {
            true => {
                trains(&step, "objects of the model of pull request #7 are missing or damaged");
                assert_eq!(server.objects("v1/trusted/"), [], "nothing is trusted: {}", step.log);
            }
            false => restores(&step),
        }
        assert!(!server.requests_to(Method::GET, "v1/blobs/").is_empty());
    }
}

#[test]
fn a_model_that_model_path_does_not_select_is_not_promoted() {
    let (double, request) = trained();
    double.control("state", &merged());
    let mut push = push(&request);
    push.env("GITHUB_API_URL", &double.url);
    for (narrow, promoted) in [("models/*.onnx", false), ("models/*.bin", true)] {
        push.input("model-path", narrow);
        let step = push.main();
        let told = "model of pull request #7 has files or links that `model-path` does not select";
        assert_eq!(step.log.contains(told), !promoted, "{}", step.log);
        assert_eq!(push.path("models").exists(), promoted);
        assert_eq!(push.objects("v1/trusted").is_empty(), !promoted);
    }
}

#[test]
fn a_complete_model_in_a_bucket_is_promoted() {
    let server = Server::start();
    let (double, request) = trained_on(&server);
    let (push, step) = pushed(&double, &request, &merged());
    restores(&step);
    assert_eq!(snapshot(&push.path("models")), snapshot(&request.path("models")));
    assert_eq!(
        server.objects("v1/trusted/").iter().filter(|(key, _)| key.contains("/pointers/")).count(),
        1
    );
}

/// A directory keeps no checksums, so the damage shows only during the fetch. The step fails, and
/// puts no byte in place.
#[test]
fn without_checksums_a_damaged_model_is_still_not_restored() {
    let (double, request) = trained();
    request.damage_a_blob();
    let (push, step) = pushed(&double, &request, &merged());
    step.fails(4, &["::error::"]);
    assert_eq!(step.pick(["restored", "retrain-needed"]), ["false", "true"]);
    assert!(!push.path("models").exists());
}

#[test]
fn an_api_that_fails_leads_to_a_training() {
    let (double, request) = trained();
    double.control(
        "faults",
        &json!([{"method": "GET", "path": "/pulls", "times": 100, "action": {"status": 500}}]),
    );
    let (push, step) = pushed(&double, &request, &merged());
    retrains(&push, &step, "500");
}

#[test]
fn a_forced_run_trains_whatever_was_merged() {
    let (double, request) = trained();
    double.control("state", &merged());
    let mut push = push(&request);
    push.env("GITHUB_API_URL", &double.url);
    push.input("force-retrain", "true");
    let step = push.main();
    assert_eq!(step.pick(["reason", "retrain-needed"]), ["forced", "true"]);
    assert!(push.objects("v1/trusted").is_empty());
}
