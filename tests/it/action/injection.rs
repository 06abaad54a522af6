//! Foreign text stays text: names of accounts and labels, commit messages, answers of services.
//!
//! It sets no output, gives the runner no command, and adds no Markdown to the summary.
//! [`super::protocol`] checks every log and every file command of every step.

use serde_json::{Value, json};

use super::artifacts::{NO_PATHS, REPOSITORY, by_run, later_job};
use super::hostile::{NAMES, summary_is_tables};
use super::promotion;
use super::runner::{Runner, Step};

/// A name within several lines, as a commit message or an answer may hold it.
fn lines(name: &str) -> String {
    format!("first\n{name}\n::set-output name=saved::true\r\nsaved=true\n##[error]{name}\nEOF\n")
}

/// Demands the verdict `forced`, and that the step set nothing else.
#[track_caller]
fn forced(step: &Step, name: &str) {
    step.succeeds();
    assert_eq!(
        step.pick(["reason", "retrain-needed", "saved", "restored"]),
        ["forced", "true", "false", "false"],
        "{name}"
    );
    assert_eq!(step.state.keys().collect::<Vec<_>>(), ["plan", "settings"], "{name}");
    summary_is_tables(step);
}

#[test]
fn accounts_are_names() {
    let stored = Runner::trained();
    for name in NAMES {
        let mut runner = stored.next_job();
        runner.input("force-retrain", "true");
        runner.env("GITHUB_ACTOR", name);
        runner.env("GITHUB_TRIGGERING_ACTOR", name);
        let main = runner.main();
        forced(&main, name);
        runner.train(&format!("weights for {name}"));
        let post = runner.post(&main);
        post.succeeds();
        summary_is_tables(&post);
        let found = runner.next_job().step_with("resolve", &[("force-retrain", "")]);
        found.succeeds();
        summary_is_tables(&found);
        let pointer: Value = serde_json::from_str(found.output("pointer")).unwrap();
        assert_eq!(pointer["forced"]["by"], *name);
    }
}

#[test]
fn messages_and_tokens_in_them_are_text() {
    let stored = Runner::trained();
    for name in NAMES {
        let mut runner = stored.next_job();
        runner.event(&json!({"head_commit": {"message": lines(&format!("{name} [retrain]"))}}));
        runner.input("force-retrain-message", "[retrain]");
        forced(&runner.main(), name);
        // The token of `force-retrain-message` is itself hostile.
        runner.event(&json!({"head_commit": {"message": lines(name)}}));
        runner.input("force-retrain-message", name.trim());
        let step = runner.main();
        if step.code == 0 {
            forced(&step, name);
        } else {
            step.fails(2, &["force-retrain-message"]);
        }
    }
}

#[test]
fn labels_and_branches_are_names() {
    let stored = Runner::trained();
    for name in NAMES {
        let mut runner = stored.next_job();
        runner.pull_request(REPOSITORY);
        let side = || json!({"repo": {"full_name": REPOSITORY}, "sha": name});
        let labels = json!([{"name": lines(name)}, {"name": name.trim()}]);
        runner.event(&json!({
            "pull_request": {"number": 7, "head": side(), "base": side(), "labels": labels},
        }));
        runner.env("GITHUB_HEAD_REF", name);
        runner.env("GITHUB_WORKFLOW_REF", name);
        runner.input("force-retrain-label", name.trim());
        let step = runner.main();
        if step.code != 0 {
            step.fails(2, &["force-retrain-label"]);
            runner.input("force-retrain-label", "");
            runner.main().succeeds();
            continue;
        }
        forced(&step, name);
        runner.train("weights");
        runner.post(&step).succeeds();
    }
}

fn restore(deploy: &Runner) -> Step {
    deploy.step_with("restore", &by_run("reader"))
}

#[test]
fn what_the_api_says_is_text() {
    let (double, deploy, _) = later_job("reader");
    for name in NAMES {
        for answer in [
            json!({"status": 403, "body": {"message": lines(name)}}),
            json!({"status": 422, "body": lines(name)}),
            json!({"status": 200, "body": {"id": lines(name)}}),
        ] {
            double.control("faults", &json!([{"path": "/actions/runs/1001", "action": answer}]));
            let step = restore(&deploy);
            step.fails(1, &["::error::"]);
            step.has_all_outputs();
        }
        let facts = json!({
            "id": 1001, "event": lines(name), "repository": {"id": 1}, "head_repository": {"id": 1},
        });
        let branch = json!({
            "id": 1001, "event": "push", "head_branch": lines(name), "repository": {"id": 1},
            "head_repository": {"id": 1},
        });
        for body in [facts, branch] {
            double.control(
                "faults",
                &json!([{"path": "runs/1001([?]|$)", "action": {"status": 200, "body": body}}]),
            );
            restore(&deploy).fails(1, &["cannot be used"]);
        }
        let artifact = json!({
            "id": 5, "name": format!("ml-cache-fraud-{}", lines(name)), "size_in_bytes": 1 << 30,
        });
        let body = json!({"artifacts": [artifact]});
        double.control(
            "faults",
            &json!([{"path": "1001/artifacts", "action": {"status": 200, "body": body}}]),
        );
        restore(&deploy).fails(3, &["has no artifact"]);
    }
}

#[test]
fn what_the_results_service_says_is_text() {
    let (double, deploy, artifact) = later_job("reader");
    let read = |deploy: &Runner| {
        deploy.step_with(
            "restore",
            &[&NO_PATHS[..], &[("pointer", &format!("artifact:{artifact}"))]].concat(),
        )
    };
    let job = deploy.next_job();
    job.train("weights");
    job.write("data/a.csv", "1");
    job.write("src/train.py", "1");
    for name in NAMES {
        let refusal = json!({"status": 400, "body": {"code": lines(name), "msg": lines(name)}});
        double.control("faults", &json!([{"path": "twirp", "action": refusal}]));
        read(&deploy).fails(1, &["ListArtifacts failed", "400"]);
        let save = job.step("save");
        save.succeeds();
        assert_eq!(save.output("artifact-id"), "");
        // A list with names that no upload accepts.
        let row = json!({
            "name": format!("{artifact}-{}", lines(name)), "size": "999999999",
            "database_id": lines(name),
        });
        let body = json!({"artifacts": [row]});
        double.control(
            "faults",
            &json!([{"path": "ListArtifacts", "action": {"status": 200, "body": body}}]),
        );
        read(&deploy).fails(3, &["has no artifact"]);
        // Text in place of the artifact's number.
        let body = json!({"ok": true, "artifact_id": lines(name)});
        double.control(
            "faults",
            &json!([{"path": "FinalizeArtifact", "action": {"status": 200, "body": body}}]),
        );
        let save = job.step("save");
        save.succeeds();
        assert_eq!(save.output("saved"), "false", "it was saved before");
        assert_eq!(save.output("artifact-id"), lines(name), "an output is a value");
    }
}

#[test]
fn what_a_promotion_is_told_is_text() {
    let (double, request) = promotion::trained();
    for name in NAMES {
        let mut cases = Vec::new();
        for (path, field) in
            [("pulls", "base"), ("runs", "path"), ("runs", "event"), ("runs", "head_sha")]
        {
            let mut state = promotion::merged();
            match field {
                "base" => state[path][0]["base"]["ref"] = json!(lines(name)),
                _ => state[path][0][field] = json!(lines(name)),
            }
            cases.push((state, json!([])));
        }
        cases.push((
            promotion::merged(),
            json!([
                {"path": "/pulls", "action": {"status": 403, "body": {"message": lines(name)}}},
            ]),
        ));
        for (state, faults) in cases {
            double.control("faults", &faults);
            double.control("state", &state);
            let push = promotion::push(&request);
            promotion::retrains(&push, &push.main(), "");
        }
    }
}
