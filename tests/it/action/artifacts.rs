//! Pointers as artifacts: a save uploads them, and other jobs and repositories resolve them. A
//! reader refuses them if the store or the run that made them says otherwise.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::runner::{Runner, Step};
use crate::support::double::Double;
use crate::support::lab;

pub(super) const REPOSITORY: &str = "acme/fraud-detection";

/// Returns a double of GitHub, and a runner whose job knows it.
pub(super) fn job() -> (Double, Runner) {
    let double = Double::start();
    let runner = in_job(&double, Runner::new(), json!({}));
    (double, runner)
}

pub(super) fn in_job(double: &Double, mut runner: Runner, more: Value) -> Runner {
    for (name, value) in double.job(more) {
        runner.env(&name, &value);
    }
    runner
}

/// Trains and saves in one job, and returns the step that saved.
pub(super) fn saved(runner: &Runner) -> Step {
    runner.train("weights");
    let save = runner.step("save");
    save.succeeds();
    save
}

/// A later job without the repository's files, so that only its inputs can name the model.
pub(super) fn deployment(runner: &Runner) -> Runner {
    let deploy = runner.next_job();
    fs::remove_dir_all(deploy.path("data")).unwrap();
    fs::remove_dir_all(deploy.path("src")).unwrap();
    deploy
}

pub(super) const NO_PATHS: [(&str, &str); 2] = [("data-paths", ""), ("training-paths", "")];

pub(super) fn restores(deploy: &Runner, more: &[(&str, &str)]) -> Step {
    let step = deploy.step_with("restore", &[&NO_PATHS, more].concat());
    step.succeeds();
    assert_eq!(step.output("restored"), "true", "{}", step.log);
    assert_eq!(deploy.read("models/model.bin"), "weights");
    step
}

pub(super) fn refuses(deploy: &Runner, more: &[(&str, &str)], needles: &[&str]) {
    let step = deploy.step_with("restore", &[&NO_PATHS, more].concat());
    assert_ne!(step.code, 0, "{}", step.log);
    for needle in needles {
        assert!(step.log.contains(needle), "{needle} is not in {}", step.log);
    }
    assert!(!deploy.path("models").exists(), "nothing was restored");
}

/// Tells the double about the run, and about a token that may read the run.
pub(super) fn known(double: &Double, token: &str) {
    double.control(
        "state",
        &json!({
            "repositories": {REPOSITORY: {"id": 4242, "default_branch": "main", "private": false}},
            "tokens": {
                token: {"kind": "classic", "repositories": "*", "permissions": {"actions": "read"}},
            },
            "runs": [run(json!({}))],
        }),
    );
}

/// A later job, after a job that uploaded an artifact. Returns the artifact's name too.
pub(super) fn later_job(token: &str) -> (Double, Runner, String) {
    let (double, runner) = job();
    let name = saved(&runner).output("artifact-name").to_owned();
    known(&double, token);
    (double, deployment(&runner), name)
}

/// The inputs that name only this run.
pub(super) fn by_run(token: &str) -> Vec<(&str, &str)> {
    [&NO_PATHS[..], &[("run-id", "1001"), ("repository", REPOSITORY), ("github-token", token)]]
        .concat()
}

#[test]
fn a_run_of_a_branch_that_is_also_a_tag_is_refused() {
    for event in ["push", "workflow_dispatch", "schedule"] {
        let (double, runner) = job();
        let name = saved(&runner).output("artifact-name").to_owned();
        known(&double, "reader");
        let is_good = event == "schedule";
        let refs = |name: &str| json!({"repositories": {REPOSITORY: {"refs": {name: "c0ffee"}}}});
        double.control("state", &json!({"runs": [run(json!({"event": event}))]}));
        double.control("state", &refs("tags/main2"));
        double.control("state", &refs("main"));
        restores(&deployment(&runner), &by_run("reader")[2..]);
        double.control("state", &refs("tags/main"));
        let named = format!("artifact:{name}");
        let by_name = [
            ("pointer", &*named),
            ("repository", REPOSITORY),
            ("github-token", "reader"),
            // Another repository: otherwise the name means an artifact of this run.
            ("namespace", REPOSITORY),
        ];
        let mut other = deployment(&runner);
        other.env("GITHUB_REPOSITORY", "acme/serving");
        let own = deployment(&runner);
        for (deploy, inputs) in [(&own, &by_run("reader")[2..]), (&other, &by_name)] {
            match is_good {
                true => drop(restores(deploy, inputs)),
                false => refuses(deploy, inputs, &["has a tag `main`", "hint:"]),
            }
        }
    }
}

#[test]
fn without_a_look_at_tags_the_store_must_name_the_run() {
    let (double, runner) = job();
    saved(&runner);
    known(&double, "reader");
    let token = json!({"kind": "fine-grained", "repositories": [REPOSITORY],
        "permissions": {"actions": "read", "metadata": "read"}});
    double.control(
        "state",
        &json!({
            "tokens": {"reader": token},
            "repositories": {REPOSITORY: {"private": true, "refs": {"tags/main": "c0ffee"}}},
        }),
    );
    restores(&deployment(&runner), &by_run("reader")[2..]);
    let deploy = deployment(&runner);
    deploy.edit_pointer(|pointer| pointer["producer"]["run_id"] = json!(7));
    refuses(
        &deploy,
        &by_run("reader")[2..],
        &["it may be a run of a tag `main`", "answered 403", "`contents: read`"],
    );
}

#[test]
fn a_save_uploads_its_pointer_and_a_job_of_the_run_finds_it() {
    let (double, runner) = job();
    let save = saved(&runner);
    let name = save.output("artifact-name");
    assert!(name.starts_with("ml-cache-fraud-1-"), "{name}");
    assert!(!save.output("artifact-id").is_empty());
    let artifacts = double.look("state")["artifacts"].clone();
    assert_eq!(artifacts.as_array().unwrap().len(), 1, "{artifacts}");

    let deploy = deployment(&runner);
    restores(&deploy, &[("pointer", &format!("artifact:{name}"))]);
    // A workflow knows this prefix beforehand, but not the attempt and the suffix.
    restores(&deployment(&runner), &[("pointer", "artifact:ml-cache-fraud")]);
    let resolve = deployment(&runner).step_with(
        "resolve",
        &[&NO_PATHS[..], &[("pointer", &format!("artifact:{name}"))]].concat(),
    );
    resolve.succeeds();
    assert_eq!(resolve.pick(["cache-hit", "restored"]), ["true", "false"]);
    assert_eq!(resolve.output("pointer"), save.output("pointer"));
    refuses(
        &deployment(&runner),
        &[("pointer", "artifact:other")],
        &["this run has no artifact `other`", "hint:"],
    );
}

/// Runs GitHub's own client with a runner's environment.
fn official(job: &[(String, String)], arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/double/official.mjs");
    let output = Command::new("node")
        .arg(script)
        .args(arguments)
        .envs(job.iter().map(|(name, value)| (name, value)))
        .env("ARTIFACT_MODULES", lab().join("double"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "is `scripts/setup double` done? {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_artifact_expires_within_the_repository_s_limit() {
    // The days in the input, the repository's limit, and the resulting days. A limit that is not a
    // positive number limits nothing.
    for (asked, allowed, wanted) in
        [("20", "", 20), ("20", "5", 5), ("400", "0", 400), ("3", "soon", 3), ("3", "-1", 3)]
    {
        let (double, mut runner) = job();
        runner.env("GITHUB_RETENTION_DAYS", allowed);
        runner.input("artifact-retention-days", asked);
        saved(&runner);
        let request = &double.look("requests?path=CreateArtifact")[0];
        let expires: jiff::Timestamp =
            request["body"]["expires_at"].as_str().unwrap().parse().unwrap();
        let days = expires.duration_since(jiff::Timestamp::now()).as_hours().div_euclid(24) + 1;
        assert_eq!(days, wanted, "{asked} of {allowed}: {request}");
    }
    let (_double, mut runner) = job();
    runner.env("GITHUB_RETENTION_DAYS", "0");
    runner.input("artifact-retention-days", "99999999");
    runner.train("weights");
    runner.step("save").fails(2, &["input `artifact-retention-days`: `99999999`", "1 to 400"]);
    assert!(runner.pointers().is_empty(), "it is refused before anything is saved");
}

#[test]
fn the_official_client_downloads_what_was_uploaded() {
    let double = Double::start();
    let variables = double.job(json!({}));
    let mut runner = Runner::new();
    for (name, value) in &variables {
        runner.env(name, value);
    }
    let save = saved(&runner);
    let name = save.output("artifact-name");
    let place = tempfile::tempdir().unwrap();
    let listed = official(&variables, &["get", name]);
    assert_eq!(listed["artifact"]["id"].to_string(), save.output("artifact-id"), "{listed}");
    official(&variables, &["download", name, place.path().to_str().unwrap()]);
    let files: Vec<_> =
        fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["pointer.json"]);
    assert_eq!(
        fs::read_to_string(place.path().join("pointer.json")).unwrap(),
        save.output("pointer")
    );
}

#[test]
fn a_pointer_may_be_handed_over_as_text_or_file() {
    let (_double, runner) = job();
    let pointer = saved(&runner).output("pointer").to_owned();
    restores(&deployment(&runner), &[("pointer", &pointer)]);
    let deploy = deployment(&runner);
    deploy.write("pointer.json", &pointer);
    restores(&deploy, &[("pointer", "pointer.json")]);
}

#[test]
fn an_older_generation_is_restored_while_the_store_remembers_it() {
    let (_double, runner) = job();
    let first = saved(&runner).output("pointer").to_owned();
    let current = restores(&deployment(&runner), &[("pointer", &first)]);
    assert!(!current.log.contains("this is generation"), "{}", current.log);
    runner.train("new weights");
    let forced = runner.step_with("save", &[("force-retrain", "true")]);
    forced.succeeds();
    assert_eq!(forced.output("saved"), "true");
    let older = restores(&deployment(&runner), &[("pointer", &first)]);
    let restored: Value = serde_json::from_str(older.output("pointer")).unwrap();
    assert_eq!([&restored["generation"], &restored["bytes"]], [&json!(1), &json!("weights".len())]);
    assert_eq!(restored["producer"], Value::Null, "the store remembers no more than the manifest");
    let line = "this is generation 1 of these inputs, but the store has generation 2";
    assert!(older.log.contains(line), "{}", older.log);
}

#[test]
fn pointers_that_the_store_does_not_confirm_are_refused() {
    let (double, runner) = job();
    let pointer: Value = serde_json::from_str(saved(&runner).output("pointer")).unwrap();
    let edited = |edit: fn(&mut Value)| {
        let mut pointer = pointer.clone();
        edit(&mut pointer);
        pointer.to_string()
    };
    let other = format!("sha256:{}", "ab".repeat(32));
    let cases: Vec<(String, &str)> = vec![
        (edited(|p| p["schema"] = json!("ml-cache/pointer/v9")), "schema"),
        (edited(|p| p["namespace"] = json!("evil/models")), "namespace"),
        (edited(|p| p["model"] = json!("other")), "model"),
        (edited(|p| p["scope"] = json!("pr/1")), "scope"),
        (edited(|p| p["endpoint"] = json!("http://evil.example")), "unknown field"),
        (
            edited(|p| p["manifest"]["digest"] = json!(format!("sha256:{}", "ab".repeat(32)))),
            "manifest",
        ),
        (
            edited(|p| p["fingerprint"] = json!(format!("sha256:{}", "ab".repeat(32)))),
            "the store has no pointer for this scope and fingerprint",
        ),
        (edited(|p| p["generation"] = json!(0)), "generation"),
        (edited(|p| p["nonce"] = json!("x".repeat(70_000))), "limit"),
        ("{".to_owned(), "pointer"),
    ];
    for (claimed, needle) in &cases {
        refuses(&deployment(&runner), &[("pointer", claimed)], &["cannot use the pointer", needle]);
    }
    refuses(
        &deployment(&runner),
        &[("pointer", &pointer.to_string()), ("fingerprint", &other)],
        &["fingerprint"],
    );
    // The same pointers as artifacts. Their archives are not a zip, are too large, or hold another
    // file.
    let seed = |name: &str, files: Value| {
        json!({
            "repository": REPOSITORY, "run_id": 1001, "name": name, "files": files,
        })
    };
    double.control(
        "state",
        &json!({"artifacts": [
            seed("wrong-scope", json!({
                "pointer.json": serde_json::from_str::<Value>(&cases[3].0).unwrap(),
            })),
            seed("no-pointer", json!({"other.json": {}})),
            seed("bomb", json!({"pointer.json": " ".repeat(300_000)})),
            {
                "repository": REPOSITORY, "run_id": 1001, "name": "no-zip",
                "content_base64": "bm90IGEgemlw",
            },
        ]}),
    );
    for name in ["wrong-scope", "no-pointer", "bomb", "no-zip"] {
        refuses(&deployment(&runner), &[("pointer", &format!("artifact:{name}"))], &["::error::"]);
    }
}

#[test]
fn another_repository_restores_the_latest_or_a_run_s_model() {
    let (double, runner) = job();
    saved(&runner);
    known(&double, "reader");
    let elsewhere = |more: &[(&str, &str)]| {
        let mut deploy = deployment(&runner);
        deploy.env("GITHUB_REPOSITORY", "acme/serving");
        deploy.env("GITHUB_REPOSITORY_ID", "99");
        let step = deploy
            .step_with("restore", &[&NO_PATHS[..], &[("repository", REPOSITORY)], more].concat());
        (deploy, step)
    };
    for more in [
        &[("github-token", "reader")][..],
        // Without a token, the step tries the usual names of a default branch.
        &[("github-token", "")],
        &[("ref", "main"), ("github-token", "")],
        &[("github-token", "reader"), ("run-id", "1001")],
    ] {
        let (deploy, step) = elsewhere(more);
        step.succeeds();
        assert_eq!(deploy.read("models/model.bin"), "weights", "{more:?}: {}", step.log);
    }
    let (_, step) = elsewhere(&[("ref", "other"), ("github-token", "")]);
    step.fails(3, &["`other` has no model yet"]);
    let (_, step) = elsewhere(&[("run-id", "1001"), ("github-token", "")]);
    step.fails(2, &["`run-id` needs a `github-token`", "hint:"]);
    let (_, step) = elsewhere(&[("run-id", "77"), ("github-token", "reader")]);
    step.fails(1, &["404", "hint:"]);
    let (_, step) = elsewhere(&[("run-id", "1001"), ("github-token", "unknown")]);
    step.fails(1, &["401", "hint:"]);
}

#[test]
fn other_capitals_name_this_repository_but_no_other() {
    let (_double, runner) = job();
    saved(&runner);
    let spelled = [("repository", "Acme/Fraud-Detection"), ("github-token", "")];
    restores(&deployment(&runner), &spelled);
    // In the own repository, the step looks at the own branch first, with and without the input.
    let mut branch = runner.next_job();
    branch.env("GITHUB_REF", "refs/heads/feature");
    branch.write("data/a.csv", "changed");
    branch.train("weights of the branch");
    branch.step("save").succeeds();
    fs::remove_dir_all(branch.path("models")).unwrap();
    branch.step_with("restore", &[&NO_PATHS[..], &spelled].concat()).succeeds();
    assert_eq!(branch.read("models/model.bin"), "weights of the branch");

    let mut elsewhere = deployment(&runner);
    elsewhere.env("GITHUB_REPOSITORY", "acme/serving");
    let step = elsewhere.step_with("restore", &[&NO_PATHS[..], &spelled].concat());
    step.fails(3, &["has no model yet", "spell `repository` as GitHub does"]);
}

pub(super) fn run(more: Value) -> Value {
    let mut run = json!({
        "id": 1001, "repository": REPOSITORY, "head_branch": "main", "event": "push",
        "status": "completed", "conclusion": "success", "path": ".github/workflows/train.yml",
    });
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run
}

/// The API may say `null`, and a restore by run number does not need the value.
#[test]
fn a_run_by_number_need_not_say_what_it_calls() {
    let (double, deploy, _) = later_job("reader");
    double.control("state", &json!({"runs": [run(json!({"referenced_workflows": null}))]}));
    restores(&deploy, &by_run("reader"));
}

#[test]
fn runs_that_are_not_trusted_name_no_model() {
    for (more, needle) in [
        (json!({"event": "pull_request"}), "event `pull_request`"),
        (json!({"event": "pull_request_target"}), "event `pull_request_target`"),
        (json!({"event": "workflow_run"}), "event `workflow_run`"),
        (json!({"head_branch": "feature"}), "branch `feature`"),
        (json!({"head_repository": "evil/fork"}), "not from the repository itself"),
        (json!({"head_repository": null}), "not from the repository itself"),
        (json!({"conclusion": "failure"}), "has not succeeded"),
        (json!({"conclusion": null, "status": "in_progress"}), "has not succeeded"),
    ] {
        let (double, runner) = job();
        saved(&runner);
        double.control(
            "state",
            &json!({
                "repositories": {
                    REPOSITORY: {"id": 4242, "default_branch": "main", "private": false},
                    "evil/fork": {"id": 666, "default_branch": "main", "fork": true},
                },
                "tokens": {
                    "reader": {
                        "kind": "classic", "repositories": "*", "permissions": {"actions": "read"},
                    },
                },
                "runs": [run(more)],
            }),
        );
        let deploy = deployment(&runner);
        let inputs = [("repository", REPOSITORY), ("run-id", "1001"), ("github-token", "reader")];
        refuses(&deploy, &inputs, &["cannot be used", needle]);
    }
}

#[test]
fn a_run_with_several_models_restores_the_wanted_model() {
    let (double, runner) = job();
    let first = saved(&runner);
    let second = runner.next_job();
    second.write("data/a.csv", "of the second leg");
    second.train("weights of the second leg");
    let second = second.step("save");
    second.succeeds();
    known(&double, "reader");
    let deploy = deployment(&runner);
    let restored = |more: &[(&str, &str)]| {
        let step = deploy.step_with("restore", &[&by_run("reader"), more].concat());
        step.succeeds();
        deploy.read("models/model.bin")
    };
    assert_eq!(restored(&[("fingerprint", first.output("fingerprint"))]), "weights");
    assert_eq!(
        restored(&[("fingerprint", second.output("fingerprint"))]),
        "weights of the second leg"
    );
    assert_eq!(restored(&[("artifact-name", first.output("artifact-name"))]), "weights");
    let step = deploy.step_with("restore", &by_run("reader"));
    step.fails(
        1,
        &[
            "more than one set of inputs",
            first.output("fingerprint"),
            second.output("fingerprint"),
            "hint:",
        ],
    );
    let unknown = format!("sha256:{}", "ab".repeat(32));
    deploy
        .step_with("restore", &[&by_run("reader")[..], &[("fingerprint", &unknown)]].concat())
        .fails(1, &[]);
}

#[test]
fn passing_faults_of_the_service_are_overcome() {
    for faults in [
        json!([
            {"method": "POST", "path": "CreateArtifact", "times": 2, "action": {"status": 503}},
        ]),
        json!([{"method": "PUT", "path": "comp=block", "nth": 1, "action": "reset"}]),
        json!([
            {
                "method": "POST", "path": "FinalizeArtifact", "nth": 1,
                "action": {"status": 403, "body": "Error from intermediary"},
            },
        ]),
    ] {
        let (double, runner) = job();
        double.control("faults", &faults);
        assert!(!saved(&runner).output("artifact-name").is_empty(), "{faults}");
    }
}

#[test]
fn broken_and_odd_answers_are_asked_for_again() {
    let page = json!({"status": 200, "body": "<html>one moment</html>"});
    let (double, runner) = job();
    double.control(
        "faults",
        &json!([
            {"path": "CreateArtifact", "nth": 1, "action": page},
            {
                "method": "PUT", "path": "comp=blocklist", "nth": 1,
                "action": {"status": 502, "body": "<html>"},
            },
            {"path": "FinalizeArtifact", "nth": 1, "action": page},
        ]),
    );
    let name = saved(&runner).output("artifact-name").to_owned();
    assert!(!name.is_empty());
    double.control(
        "faults",
        &json!([
            {"path": "ListArtifacts", "nth": 1, "action": page},
            {"path": "GetSignedArtifactURL", "nth": 1, "action": {"truncate": 5}},
            {"method": "GET", "path": "sig=", "nth": 1, "action": {"truncate": 50}},
        ]),
    );
    restores(&deployment(&runner), &[("pointer", &format!("artifact:{name}"))]);
    let struck =
        double.look("faults").as_array().unwrap().iter().filter(|rule| rule["struck"] == 1).count();
    assert_eq!(struck, 3, "{}", double.look("faults"));
}

#[test]
fn an_artifact_whose_answer_was_lost_is_made_all_the_same() {
    // The service did the work, but its answer was lost. It refuses to do it again under the same
    // name.
    for method in ["CreateArtifact", "FinalizeArtifact"] {
        let (double, mut runner) = job();
        runner.input("artifact-name", "fraud-model");
        double.control("state", &json!({"settings": {"refinalize": "refused"}}));
        double.control("faults", &json!([{"path": method, "nth": 1, "action": {"truncate": 5}}]));
        let save = saved(&runner);
        assert!(save.output("artifact-name").starts_with("fraud-model-"), "{method}: {}", save.log);
        restores(&deployment(&runner), &[("pointer", "artifact:fraud-model")]);
    }
}

#[test]
fn a_used_up_quota_is_told_at_once() {
    let (double, runner) = job();
    let body =
        json!({"code": "resource_exhausted", "msg": "insufficient usage to create artifact"});
    double.control(
        "faults",
        &json!([{"path": "CreateArtifact", "action": {"status": 429, "body": body}}]),
    );
    let save = saved(&runner);
    assert_eq!(save.pick(["saved", "artifact-name"]), ["true", ""]);
    for told in ["insufficient usage", "hint: delete artifacts"] {
        assert!(save.log.contains(told), "{}", save.log);
    }
    assert_eq!(double.look("requests?path=CreateArtifact").as_array().unwrap().len(), 1);
}

#[test]
fn an_artifact_that_cannot_be_finalized_tells_the_reason() {
    // The status of the refusal, and how often the step then announces and finalizes the artifact.
    for (status, announced, finalized) in [(401, 1, 1), (404, 3, 3), (503, 1, 5)] {
        let (double, runner) = job();
        let body = json!({"msg": "not this time"});
        double.control(
            "faults",
            &json!([{"path": "FinalizeArtifact", "action": {"status": status, "body": body}}]),
        );
        let save = saved(&runner);
        assert_eq!(save.pick(["saved", "artifact-name"]), ["true", ""]);
        let why = format!("FinalizeArtifact failed: the results service answered {status}");
        assert!(save.log.contains(&why) && save.log.contains("not this time"), "{}", save.log);
        let asked = |method: &str| {
            double.look(&format!("requests?path={method}")).as_array().unwrap().len()
        };
        assert_eq!(
            (asked("CreateArtifact"), asked("FinalizeArtifact")),
            (announced, finalized),
            "{status}"
        );
    }
}

#[test]
fn without_the_service_the_store_has_the_pointer_all_the_same() {
    for (name, value, needle) in [
        ("ACTIONS_RESULTS_URL", "", "no results service"),
        ("GITHUB_SERVER_URL", "https://github.acme.example", "Enterprise Server"),
        ("ACTIONS_RUNTIME_TOKEN", "nonsense", "names no run"),
        ("ACTIONS_RESULTS_URL", "http://127.0.0.1:9/", "cannot reach the results service"),
    ] {
        let (_double, mut runner) = job();
        runner.env(name, value);
        let save = saved(&runner);
        assert_eq!(save.pick(["saved", "artifact-name", "artifact-id"]), ["true", "", ""]);
        assert!(
            save.log.contains("::warning::the pointer is in the store, but not in an artifact")
                && save.log.contains(needle),
            "{}",
            save.log
        );
        assert_eq!(runner.pointers().len(), 1);
    }
}

#[test]
fn no_token_goes_where_it_does_not_belong() {
    let (double, runner) = job();
    let name = saved(&runner).output("artifact-name").to_owned();
    restores(&deployment(&runner), &[("pointer", &format!("artifact:{name}"))]);
    for request in double.look("requests").as_array().unwrap() {
        let is_blob = !request["path"].as_str().unwrap().starts_with("/twirp/");
        assert_eq!(request["authorization"], json!(!is_blob), "{request}");
    }
}
