//! Rules of the reusable workflow that a run on one machine cannot show.
//!
//! They concern roles, environments, queues and cancelled runs. The end-to-end case `reusable`
//! checks the other rules.

use std::collections::BTreeMap;

const TRUSTED: &str = "(github.event_name == 'schedule' || github.ref == format('refs/heads/{0}', \
                       github.event.repository.default_branch))";

/// Returns the lines of each job, with every value on one line.
fn jobs() -> BTreeMap<String, Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.github/workflows/ml-pipeline.yml");
    let text = std::fs::read_to_string(path).unwrap();
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
    let chosen = format!(
        "${{{{ format({TRUSTED} && '{{0}}' || '{{1}}', inputs.role, inputs.untrusted-role) }}}}"
    );
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
        ("plan", &*chosen),
        ("train-model", &*chosen),
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
        "${{{{ !cancelled() && inputs.deploy-staging-command != '' && {TRUSTED} && \
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
    let registers = format!("inputs.register-command != '' && {TRUSTED}");
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
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.github/workflows/ml-pipeline.yml");
    let called = std::fs::read_to_string(path).unwrap();
    let pointer = "value: ${{ jobs.train-model.outputs.pointer || jobs.plan.outputs.pointer }}\n";
    assert!(called.contains(pointer), "where the training was skipped, the plan has found it");
}
