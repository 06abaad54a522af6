//! Rules of the reusable workflow that a run on one machine cannot show.
//!
//! They concern roles, environments, queues and cancelled runs. The end-to-end case `reusable`
//! checks the other rules.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

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
        if depth == 2 && line.ends_with(':') {
            job = line.trim_end_matches(':').to_owned();
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
        ("deploy-production", deploys),
        ("deploy-staging", deploys),
        ("plan", &*chosen("steps.trust")),
        ("train-model", &*chosen("needs.plan")),
    ];
    assert_eq!(found, expected.map(|(job, role)| (job.to_owned(), role.to_owned())));
}

#[test]
fn jobs_begin_after_what_they_need_and_only_where_they_may() {
    let jobs = jobs();
    let rule = |job: &str, name: &str| {
        values(&jobs[job], name).first().map_or("", |value| *value).to_owned()
    };
    let deploys = format!(
        "${{{{ !cancelled() && inputs.deploy-staging-command != '' && {DEPLOYS} && \
         needs.plan.result == 'success' && contains(fromJSON('[\"success\", \"skipped\"]'), \
         needs.train-model.result) }}}}"
    );
    for (job, needs, condition) in [
        ("lint-and-test", "", "inputs.lint-command != ''"),
        ("data-validation", "", "inputs.validate-command != ''"),
        (
            "plan",
            "[lint-and-test, data-validation]",
            "${{ !cancelled() && !failure() && (github.event_name != 'pull_request' || \
             github.event.pull_request.head.repo.full_name == github.repository && \
             github.event.pull_request.user.login != 'dependabot[bot]') }}",
        ),
        (
            "train-model",
            "plan",
            "${{ !cancelled() && needs.plan.result == 'success' && \
             needs.plan.outputs.retrain-needed != 'false' }}",
        ),
        ("deploy-staging", "[plan, train-model]", &*deploys),
        (
            "deploy-production",
            "[plan, train-model, deploy-staging]",
            "${{ !cancelled() && inputs.canary-command != '' && needs.deploy-staging.result == \
             'success' }}",
        ),
    ] {
        assert_eq!(
            (rule(job, "needs"), rule(job, "if")),
            (needs.into(), condition.into()),
            "{job}"
        );
    }
    assert_eq!(jobs.len(), 6);
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

/// Returns the script by which a pipeline tells what its run may do.
fn judge(pipeline: &str) -> String {
    let text = read(pipeline);
    let (_, step) = text.split_once("        id: trust\n").expect(pipeline);
    let (_, script) = step.split_once("        run: |\n").unwrap();
    let lines = script.lines().map_while(|line| line.strip_prefix("          "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns what that script says of a run, as the runner would run it.
fn judged(script: &str, event: &str, git_ref: &str, default: &str, merged_into: &str) -> String {
    let run = Command::new("bash")
        .args(["--noprofile", "--norc", "-e", "-c", script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("GITHUB_EVENT_NAME", event), ("GITHUB_REF", git_ref)])
        .env("GITHUB_REF_NAME", git_ref.trim_start_matches("refs/heads/"))
        .envs([("DEFAULT_BRANCH", default), ("MERGE_BASE", merged_into)])
        .env("GITHUB_OUTPUT", "/dev/stdout")
        .output()
        .unwrap();
    assert!(run.status.success(), "{event} on {git_ref}: {run:?}");
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn only_events_of_insiders_are_trusted_and_deploy() {
    let (main, other, queue) =
        ("refs/heads/main", "refs/heads/feature", "refs/heads/gh-readonly-queue/main/pr-7-abc");
    let nothing = "trusted=false\ndeploys=false\n";
    let all = "trusted=true\ndeploys=true\n";
    let script = judge(PIPELINES[0]);
    assert_eq!(script, judge(PIPELINES[1]), "both pipelines judge alike");
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
