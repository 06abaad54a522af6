//! Rules of the reusable workflow that a run on one machine cannot show.
//!
//! They concern roles, environments, queues and cancelled runs. The end-to-end case `reusable`
//! checks the other rules.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

const DEPLOYS: &str = "needs.plan.outputs.deploys == 'true'";
const PIPELINES: [&str; 2] = [
    ".github/workflows/ml-pipeline.yml",
    "examples/fraud-detection/.github/workflows/ml-pipeline.yml",
];

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the lines of each job, with every value on one line.
fn jobs() -> BTreeMap<String, Vec<String>> {
    let text = read(PIPELINES[0]);
    let (_, jobs) = text.split_once("\njobs:\n").unwrap();
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let (mut job, mut folded) = (String::new(), false);
    for line in jobs.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim_start().trim_start_matches("- ");
        let name = line.split(" # ").next().and_then(|name| name.strip_suffix(':'));
        if let (2, Some(name)) = (depth, name) {
            name.clone_into(&mut job);
            continue;
        }
        let lines = found.entry(job.clone()).or_default();
        // Only conditions of jobs are folded over several lines.
        if folded && depth == 6 {
            let condition = lines.last_mut().unwrap();
            *condition = format!("{condition} {line}");
            continue;
        }
        folded = line == "if: >-";
        lines.push(line.trim_end_matches(" >-").to_owned());
    }
    found
}

/// Returns the values of a name in a job, without comments.
fn values<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    let value = |line: &'a String| {
        let value = line.strip_prefix(name)?.strip_prefix(": ")?;
        Some(value.split(" # ").next().unwrap_or(value))
    };
    lines.iter().filter_map(value).collect()
}

#[test]
fn only_trusted_runs_get_the_trusted_role() {
    let chosen = |from: &str| {
        format!(
            "${{{{ format({from}.outputs.trusted == 'true' && '{{0}}' || '{{1}}', inputs.role, \
             inputs.untrusted-role) }}}}"
        )
    };
    let deploys = "${{ inputs.deploy-role || inputs.role }}";
    let found: Vec<_> = jobs()
        .iter()
        .flat_map(|(job, lines)| {
            values(lines, "role-to-assume").into_iter().map(|it| (job.clone(), it.to_owned()))
        })
        .collect();
    let expected = [
        ("compare", deploys),
        ("compare", deploys),
        ("deploy-production", deploys),
        ("deploy-staging", deploys),
        ("plan", &*chosen("steps.trust")),
        ("train-model", &*chosen("needs.plan")),
    ];
    assert_eq!(found, expected.map(|(job, role)| (job.to_owned(), role.to_owned())));
}

/// Returns the condition that a job was left out, or went well.
fn passed(job: &str) -> String {
    format!("contains(fromJSON('[\"success\", \"skipped\"]'), needs.{job}.result)")
}

#[test]
fn jobs_begin_after_what_they_need_and_only_where_they_may() {
    let jobs = jobs();
    let rule = |job: &str, name: &str| {
        values(&jobs[job], name).first().map_or("", |value| *value).to_owned()
    };
    let deploys = format!(
        "${{{{ !cancelled() && inputs.deploy-staging-command != '' && {DEPLOYS} && \
         needs.plan.result == 'success' && (needs.train-model.result == 'success' || \
         needs.train-model.result == 'skipped' && needs.plan.outputs.retrain-needed == 'false') && \
         {} }}}}",
        passed("build-image")
    );
    let trains = format!(
        "${{{{ !cancelled() && needs.plan.result == 'success' && \
         needs.plan.outputs.retrain-needed != 'false' && needs.plan.outputs.trains == 'true' && \
         {} }}}}",
        passed("data-validation")
    );
    let review = format!(
        "${{{{ !cancelled() && inputs.canary-command != '' && needs.deploy-staging.result == \
         'success' && {} }}}}",
        passed("compare")
    );
    for (job, needs, condition) in [
        ("lint-and-test", "", "inputs.lint-command != ''"),
        ("data-validation", "", "inputs.validate-command != ''"),
        (
            "plan",
            "lint-and-test",
            "${{ !cancelled() && !failure() && (github.event_name != 'pull_request' || \
             github.event.pull_request.head.repo.full_name == github.repository && \
             github.event.pull_request.user.login != 'dependabot[bot]') }}",
        ),
        ("train-model", "[plan, data-validation]", &*trains),
        (
            "build-image",
            "plan",
            "${{ !cancelled() && inputs.build-command != '' && needs.plan.outputs.deploys == \
             'true' && needs.plan.result == 'success' }}",
        ),
        ("deploy-staging", "[plan, train-model, build-image]", &*deploys),
        (
            "compare",
            "[plan, train-model, deploy-staging]",
            "${{ !cancelled() && inputs.compare-command != '' && inputs.canary-command != '' && \
             needs.deploy-staging.result == 'success' }}",
        ),
        ("review", "[deploy-staging, compare]", &*review),
        (
            "deploy-production",
            "[plan, train-model, build-image, compare, review]",
            "${{ !cancelled() && needs.review.result == 'success' }}",
        ),
    ] {
        assert_eq!(
            (rule(job, "needs"), rule(job, "if")),
            (needs.into(), condition.into()),
            "{job}"
        );
    }
    assert_eq!(jobs.len(), 9);
}

#[test]
fn a_deployment_waits_its_turn_and_takes_its_run_s_model() {
    for environment in ["staging", "production"] {
        let lines = &jobs()[&format!("deploy-{environment}")];
        for (name, expected) in [
            ("environment", format!("${{{{ inputs.{environment}-environment }}}}")),
            ("concurrency", format!("deploy-{environment}-${{{{ inputs.model }}}}")),
            (
                "pointer",
                "${{ needs.train-model.outputs.pointer || needs.plan.outputs.pointer }}".into(),
            ),
            ("fingerprint", "${{ needs.plan.outputs.fingerprint }}".into()),
        ] {
            assert_eq!(values(lines, name), [expected], "{environment}: {name}");
        }
    }
}

#[test]
fn only_trusted_models_are_registered_and_cut_off_canaries_end() {
    let jobs = jobs();
    let conditions = values(&jobs["train-model"], "if");
    let registers = format!("inputs.register-command != '' && {DEPLOYS}");
    assert!(conditions.contains(&&*registers), "{conditions:?}");
    let taken_back = "${{ !success() && steps.canary.outcome != 'skipped' }}";
    assert_eq!(values(&jobs["deploy-production"], "if").last(), Some(&taken_back));
    for (job, lines) in &jobs {
        assert!(values(lines, "continue-on-error").is_empty(), "{job} hides a failure");
    }
}

#[test]
fn the_outputs_are_those_of_the_training_or_of_the_plan() {
    let jobs = jobs();
    for output in ["retrain-needed", "reason", "fingerprint", "pointer"] {
        let expected = format!("${{{{ steps.plan.outputs.{output} }}}}");
        assert!(values(&jobs["plan"], output).contains(&&*expected), "{output}");
    }
    let saved = "${{ steps.save.outputs.pointer }}";
    assert_eq!(values(&jobs["train-model"], "pointer"), [saved]);
    let called = read(PIPELINES[0]);
    let pointer = "value: ${{ jobs.train-model.outputs.pointer || jobs.plan.outputs.pointer }}\n";
    assert!(called.contains(pointer), "where the training was skipped, the plan has found it");
}

#[test]
fn a_review_holds_neither_secrets_nor_the_turn_of_others() {
    let jobs = jobs();
    let review = &jobs["review"];
    assert_eq!(values(review, "environment"), ["${{ inputs.review-environment }}"]);
    assert_eq!(values(review, "permissions"), ["{}"]);
    assert!(values(review, "concurrency").is_empty());
    assert!(review.iter().all(|line| !line.contains("secrets.") && !line.contains("uses:")));
    // What it reads has been written before.
    assert_eq!(values(&jobs["compare"], "environment"), ["${{ inputs.production-environment }}"]);
    assert!(values(&jobs["compare"], "concurrency").is_empty());
}

#[test]
fn a_deployment_begins_with_the_question_for_its_secret() {
    let script = script(&read(PIPELINES[0]), "      - name: Is the secret there?\n");
    let asked = |needed: &str, given: &str| {
        let run = run(&script, &[("NEEDED", needed), ("GIVEN", given), ("ENVIRONMENT", "here")]);
        (run.status.success(), String::from_utf8(run.stdout).unwrap())
    };
    assert_eq!(asked("required", "true"), (true, String::new()));
    assert_eq!(asked("none", "false"), (true, String::new()));
    let (passed, told) = asked("required", "false");
    assert!(!passed);
    for part in [
        "the secret DEPLOY_CREDENTIALS is empty in the environment here",
        "gh secret set DEPLOY_CREDENTIALS --env here",
        "secrets: { DEPLOY_CREDENTIALS: ${{ secrets.DEPLOY_CREDENTIALS }} }",
        "`deploy-credentials: none`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for job in ["deploy-staging", "compare", "deploy-production"] {
        let lines = &jobs()[job];
        let first = lines.iter().position(|line| line == "steps:").unwrap() + 1;
        assert_eq!(lines[first], "name: Is the secret there?", "{job}");
    }
}

#[test]
fn pull_requests_train_only_where_they_may() {
    let script = script(&read(PIPELINES[0]), "        id: may\n");
    for (rule, pull_request, labeled, expected) in [
        ("always", "7", "false", "trains=true\n"),
        ("label", "7", "false", "trains=false\n"),
        ("label", "7", "true", "trains=true\n"),
        ("never", "7", "true", "trains=false\n"),
        ("label", "", "false", "trains=true\n"),
        ("never", "", "false", "trains=true\n"),
    ] {
        let run =
            run(&script, &[("RULE", rule), ("PULL_REQUEST", pull_request), ("LABELED", labeled)]);
        assert_eq!(String::from_utf8(run.stdout).unwrap(), expected, "{rule} {labeled}");
    }
    let unknown = run(&script, &[("RULE", "perhaps"), ("PULL_REQUEST", "7"), ("LABELED", "")]);
    assert!(!unknown.status.success());
}

/// Returns the script of the first step after the marker.
fn script(workflow: &str, marker: &str) -> String {
    let (_, step) = workflow.split_once(marker).expect(marker);
    let (_, script) = step.split_once("        run: |\n").unwrap();
    let lines = script.lines().map_while(|line| line.strip_prefix("          "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs a script as the runner would, with these variables and its outputs on standard output.
fn run(script: &str, variables: &[(&str, &str)]) -> Output {
    Command::new("bash")
        .args(["--noprofile", "--norc", "-e", "-c", script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(variables.iter().copied())
        .env("GITHUB_OUTPUT", "/dev/stdout")
        .output()
        .unwrap()
}

/// Returns the script by which the pipeline tells what its run may do.
fn judge() -> String {
    script(&read(PIPELINES[0]), "        id: trust\n")
}

/// Returns the lines without their indentation.
fn unindented(text: &str) -> String {
    text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

/// Returns what that script says of a run, as the runner would run it.
fn judged(script: &str, event: &str, git_ref: &str, default: &str, merged_into: &str) -> String {
    let run = run(
        script,
        &[
            ("GITHUB_EVENT_NAME", event),
            ("GITHUB_REF", git_ref),
            ("GITHUB_REF_NAME", git_ref.trim_start_matches("refs/heads/")),
            ("DEFAULT_BRANCH", default),
            ("MERGE_BASE", merged_into),
        ],
    );
    assert!(run.status.success(), "{event} on {git_ref}: {run:?}");
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn only_events_of_insiders_are_trusted_and_deploy() {
    let (main, other, queue) =
        ("refs/heads/main", "refs/heads/feature", "refs/heads/gh-readonly-queue/main/pr-7-abc");
    let nothing = "trusted=false\ndeploys=false\n";
    let all = "trusted=true\ndeploys=true\n";
    let script = judge();
    let example = unindented(&read("examples/fraud-detection/scripts/judge-run"));
    assert!(example.contains(&unindented(&script)), "both pipelines judge alike");
    for event in ["push", "schedule", "workflow_dispatch", "repository_dispatch"] {
        assert_eq!(judged(&script, event, main, "main", ""), all, "{event}");
        for elsewhere in [other, queue, "refs/heads/Main", "refs/tags/main", "refs/pull/7/merge"] {
            assert_eq!(
                judged(&script, event, elsewhere, "main", ""),
                nothing,
                "{event} {elsewhere}"
            );
        }
        // Without the name of the default branch, only a schedule tells that it runs there.
        let expected = if event == "schedule" { all } else { nothing };
        assert_eq!(judged(&script, event, main, "", ""), expected, "{event}");
        assert_eq!(judged(&script, event, "", "", ""), nothing, "{event} without a ref");
    }
    for event in [
        "pull_request",
        "pull_request_target",
        "pull_request_review",
        "issue_comment",
        "issues",
        "workflow_run",
        "release",
        "delete",
        "discussion",
        "fork",
        "watch",
        "check_run",
        "Push",
        "",
    ] {
        assert_eq!(judged(&script, event, main, "main", main), nothing, "{event}");
    }
    let queued = |base| judged(&script, "merge_group", queue, "main", base);
    assert_eq!(queued(main), "trusted=true\ndeploys=false\n");
    for base in [other, "refs/heads/Main", "main", ""] {
        assert_eq!(queued(base), nothing, "merged into {base}");
    }
    assert_eq!(judged(&script, "merge_group", main, "main", other), nothing);
}

#[test]
fn no_condition_trusts_a_ref_without_its_event() {
    let listed = Command::new("git")
        .args(["ls-files", "--", "*.md", "*.yml", "*.yaml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    assert!(PIPELINES.iter().all(|name| names.contains(name)));
    let insiders = "contains(fromJSON('[\"push\", \"schedule\", \"workflow_dispatch\", \
                    \"repository_dispatch\"]'), github.event_name) && ";
    for name in names.lines() {
        // An expression may be folded over several lines.
        let text = read(name).split_whitespace().collect::<Vec<_>>().join(" ");
        for (at, _) in text.match_indices("github.ref") {
            let (before, after) = (&text[..at], &text[at..]);
            let word = after.find([' ', ')', ',', '`']).unwrap_or(after.len());
            let compared = after[word..].starts_with(" ==") || after[word..].starts_with(" !=");
            let asked = compared || before.ends_with('(') || before.ends_with(", ");
            // Prose may name the condition that is wrong.
            if asked && !before.ends_with('`') {
                assert!(before.ends_with(insiders), "{name}: {}", &after[..word]);
            }
        }
    }
}
