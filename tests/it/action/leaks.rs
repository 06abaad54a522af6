//! Tokens, keys and signatures stay secret on every way to GitHub and AWS.
//!
//! The answers are hostile: refusals and nonsense that quote the request, redirects, broken
//! connections.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use ml_cache::github::archive;
use serde_json::{Value, json};

use super::artifacts::{NO_PATHS, REPOSITORY, by_run, later_job};
use super::identity::{self, ROLE};
use super::promotion;
use super::runner::{Runner, State, Step};
use crate::support::canary::Canaries;
use crate::support::cli::wait_until;
use crate::support::double::Double;
use crate::support::listener::{Listener, Manner};
use crate::support::s3::Server;

const GITHUB_TOKEN: &str = "ghs_canaryGithubToken6Zq4";
const SECRETS_OF_JOBS: [&str; 2] = ["ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];

/// Keys in the job's environment that no request needs.
const KEYS: [(&str, &str); 2] = [
    ("AWS_SECRET_ACCESS_KEY", "canary+secret/key=6Zq0"),
    ("AWS_SESSION_TOKEN", "canary+session/token=6Zq1"),
];

/// A way to GitHub, and the secrets that must not show on it.
struct Way {
    double: Double,
    elsewhere: Listener,
    runner: Runner,
    canaries: Canaries,
    phase: &'static str,
    inputs: Vec<(&'static str, String)>,
}

impl Way {
    fn new(
        double: Double,
        mut runner: Runner,
        phase: &'static str,
        inputs: &[(&'static str, &str)],
    ) -> Self {
        let mut canaries = Canaries::default();
        runner.env("RUNNER_DEBUG", "1");
        for name in SECRETS_OF_JOBS {
            if let Some(value) = runner.env_of(name) {
                canaries.add(name, &value);
            }
        }
        for (name, value) in KEYS {
            runner.env(name, value);
            canaries.add(name, value);
        }
        canaries.add("github-token", GITHUB_TOKEN);
        let inputs = inputs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self {
            double,
            elsewhere: Listener::start(Manner::Refuses),
            runner,
            canaries,
            phase,
            inputs,
        }
    }

    /// Runs a step under these faults, and looks for secrets in everything that it leaves behind.
    fn step(&mut self, faults: &Value) -> Step {
        self.double.control("faults", faults);
        let before = self.elsewhere.connections().len();
        let inputs: Vec<(&str, &str)> =
            self.inputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let step = self.runner.step_with(self.phase, &inputs);
        self.learn();
        assert!(!step.log.contains("panicked"), "{faults}: {}", step.log);
        // The runner hides these lines and masks their values. No other line may show a secret.
        let shown: Vec<&str> =
            step.log.lines().filter(|line| !line.starts_with("::add-mask::")).collect();
        let left =
            format!("{}\n{:?}\n{:?}\n{}", shown.join("\n"), step.outputs, step.state, step.summary);
        self.canaries.are_not_in(&format!("what is left after {faults}"), left.as_bytes());
        // Only an artifact's storage may be on another host, and no token may go there.
        let followed = self.elsewhere.connections().split_off(before);
        assert!(
            followed.is_empty() || faults.to_string().contains("/zip"),
            "{faults}: {followed:?}"
        );
        assert!(
            followed.iter().all(|head| !head.to_lowercase().contains("authorization")),
            "{followed:?}"
        );
        step
    }

    /// Learns the secrets that exist only after their use: OIDC tokens and signatures of URLs.
    fn learn(&mut self) {
        for request in self.double.look("requests").as_array().unwrap() {
            let query = request["query"].as_str().unwrap();
            if let Some(signature) = query.split('&').find_map(|pair| pair.strip_prefix("sig=")) {
                self.canaries.add("a signature", signature);
                let decoded = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
                self.canaries.add("a signature", &decoded);
            }
            let form = request["body"].as_str().unwrap_or_default();
            if let Some(token) =
                form.split('&').find_map(|pair| pair.strip_prefix("WebIdentityToken="))
            {
                self.canaries.add("the id token", token);
            }
        }
    }

    /// Makes every request fail in every way, one at a time.
    fn suffer(&mut self, routes: &[(&str, &str)]) {
        for (method, path) in routes {
            // The step repeats requests to storage for a long time, so these faults strike once.
            // Through the API it does not.
            let through_api = self.inputs.iter().any(|(name, _)| *name == "github-token");
            let is_storage = path.contains("actions-results") && !through_api;
            let is_call = path.contains("twirp");
            let is_repeated = is_call || is_storage || *path == "/oidc";
            for mut action in self.actions() {
                // The step repeats a call with an unreadable answer, because that service answers
                // only JSON.
                let is_final = action["status"] == 401 || (action["status"] == 200 && !is_call);
                let times = if is_repeated && !is_final { 1 } else { 100 };
                if *path == "/sts" && action["status"].is_number() {
                    action["body"] = json!(STS_REFUSAL);
                }
                self.step(
                    &json!([{"method": method, "path": path, "times": times, "action": action}]),
                );
                let struck = self.double.look("faults");
                assert!(
                    struck[0]["struck"].as_u64() > Some(0),
                    "{method} {path} was not asked for: {struck}"
                );
            }
        }
    }

    fn actions(&self) -> Vec<Value> {
        let said = "you said {{bearer}}, {{bearer64}} and {{bearer_url}} to {{target}}";
        let headers = json!({"WWW-Authenticate": "Bearer {{bearer}}", "X-Said": "{{bearer}}"});
        let everywhere = json!({
            "message": said, "msg": said, "id": said, "ok": said, "value": [said],
            "artifacts": said, "sha": {"a": said},
            "workflow_runs": said, "commit": said, "signed_url": [said],
            "signed_upload_url": [said], "artifact_id": said,
        });
        let mut actions: Vec<Value> = [401, 403, 404, 500]
            .map(|status| json!({"status": status, "body": everywhere, "headers": headers}))
            .into();
        actions.extend([
            json!({"status": 403, "body": said, "headers": headers}),
            json!({"status": 200, "body": everywhere, "headers": headers}),
            json!({"status": 200, "body": [everywhere], "headers": headers}),
            json!({"status": 200, "body": said}),
            json!({
                "status": 302, "body": said,
                "headers": {
                    "Location": format!("{}/{{{{bearer}}}}?{{{{target}}}}", self.elsewhere.url),
                },
            }),
            json!("reset"),
        ]);
        actions
    }

    /// Looks for secrets in the store's objects and in the artifacts.
    fn look_into_stores(&self, objects: &[(String, Vec<u8>)]) {
        assert!(!objects.is_empty());
        for (key, bytes) in objects {
            self.canaries.are_not_in(key, bytes);
        }
        for artifact in self.double.look("state")["artifacts"].as_array().unwrap() {
            let Some(zip) = self.uploaded(artifact) else { continue };
            self.canaries.are_not_in("an artifact", &archive::unpack(&zip).unwrap());
            self.canaries.are_not_in("an artifact's zip", &zip);
        }
    }

    fn uploaded(&self, artifact: &Value) -> Option<Vec<u8>> {
        self.double.control("faults", &json!([]));
        self.double.control(
            "state",
            &json!({"tokens": {"look": {"kind": "classic", "repositories": "*"}}}),
        );
        let url = format!(
            "{}/repos/{REPOSITORY}/actions/artifacts/{}/zip",
            self.double.url, artifact["id"]
        );
        let curl = |arguments: &[&str]| {
            Command::new("curl").arg("--silent").args(arguments).output().unwrap().stdout
        };
        // The storage refuses a request that carries a token.
        let storage = curl(&[
            "--header",
            "Authorization: Bearer look",
            "--write-out",
            "%{redirect_url}",
            &url,
        ]);
        (artifact["status"] == "ready")
            .then(|| curl(&["--fail", std::str::from_utf8(&storage).unwrap()]))
    }
}

const STS_REFUSAL: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <Error><Type>Sender</Type><Code>AccessDenied</Code>\
    <Message>not with {{form WebIdentityToken}}</Message></Error></ErrorResponse>";

/// A job that saves, with a role and with artifacts.
fn saving() -> (Way, Server) {
    let (double, server, mut runner) = identity::job(&json!({"id-token": "write"}));
    let role = json!({"session_token": "canary+session/of+role=6Zq2"});
    double.control("state", &json!({"roles": {ROLE: role}}));
    runner.input("github-token", GITHUB_TOKEN);
    runner.train("weights");
    let mut way = Way::new(double, runner, "save", &[]);
    way.canaries.add("the role's token", "canary+session/of+role=6Zq2");
    way.canaries.add("the role's secret key", &server.endpoint.secret_key);
    way.canaries.add("the role's access key", &server.endpoint.access_key);
    (way, server)
}

#[test]
fn nothing_is_shown_while_a_role_is_assumed() {
    let (mut way, _server) = saving();
    way.suffer(&[("GET", "/oidc"), ("POST", "/sts")]);
    way.step(&json!([{"path": "/oidc", "action": {"status": 500, "body": "{{bearer}}"}}]))
        .fails(1, &["cannot get an OIDC token"]);
}

#[test]
fn credentials_in_unreadable_answers_are_not_shown() {
    let (mut way, server) = saving();
    let keys = format!(
        "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>canary+session/of+role=6Zq2</SessionToken>",
        server.endpoint.access_key, server.endpoint.secret_key
    );
    let answer = |inside: &str| {
        format!(
            "<AssumeRoleWithWebIdentityResponse \
             xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials>{inside}</Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
    };
    for body in [
        answer(&format!("{keys}<Expiration>canary+secret/key=6Zq0</Expiration>")),
        answer(&format!("{keys}<Expiration>99999-01-01T00:00:00Z</Expiration>")),
        answer(&keys),
        keys.clone(),
        answer(&keys).replace("</Credentials>", ""),
    ] {
        way.step(&json!([{"path": "/sts", "action": {"status": 200, "body": body}}]));
    }
}

#[test]
fn nothing_is_shown_while_an_artifact_is_uploaded() {
    let (mut way, server) = saving();
    way.suffer(&[("PUT", "/actions-results/.*comp=block&")]);
    let step = way.step(&json!([]));
    assert_ne!(step.output("artifact-name"), "", "{}", step.log);
    let objects =
        server.objects("").into_iter().map(|(key, path)| (key, std::fs::read(path).unwrap()));
    way.look_into_stores(&objects.collect::<Vec<_>>());
}

#[test]
fn nothing_is_shown_while_an_artifact_is_announced() {
    let (mut way, _server) = saving();
    way.suffer(&[("POST", "/twirp/.*CreateArtifact")]);
    // A signed URL in a field that should hold none.
    let signed = "https://storage.invalid/x?sig=canary+secret/key=6Zq0";
    way.step(
        &json!([{"path": "CreateArtifact", "action": {"status": 200, "body": {"ok": signed}}}]),
    )
    .succeeds();
    for status in [401, 404] {
        way.step(&json!([
            {
                "path": "FinalizeArtifact",
                "action": {"status": status, "body": {"msg": "{{bearer}}"}},
            },
        ]));
    }
    way.step(&json!([
        {"path": "CreateArtifact", "action": {"status": 500, "body": {"msg": "no {{bearer}}"}}},
    ]))
    .succeeds();
}

#[test]
fn nothing_is_shown_while_an_artifact_of_the_run_is_read() {
    let (double, deploy, name) = later_job("reader");
    let mut inputs = NO_PATHS.to_vec();
    let pointer = format!("artifact:{name}");
    inputs.push(("pointer", &pointer));
    let mut way = Way::new(double, deploy, "restore", &inputs);
    way.suffer(&[
        ("POST", "/twirp/.*ListArtifacts"),
        ("POST", "/twirp/.*GetSignedArtifactURL"),
        ("GET", "/actions-results/"),
    ]);
    way.step(&json!([])).succeeds();
    way.look_into_stores(&way.runner.stored());
}

#[test]
fn a_question_about_a_foreign_run_shows_no_secret() {
    let (double, mut deploy, _) = later_job(GITHUB_TOKEN);
    deploy.env("GITHUB_REPOSITORY", "acme/serving");
    let mut way = Way::new(double, deploy, "restore", &by_run(GITHUB_TOKEN));
    way.suffer(&[
        ("GET", "/repos/acme/fraud-detection([?]|$)"),
        ("GET", "/actions/runs/1001([?]|$)"),
        ("GET", "/actions/runs/1001/artifacts"),
        ("GET", "/actions/artifacts/[0-9]+/zip"),
        ("GET", "/actions-results/"),
    ]);
    way.step(&json!([])).succeeds();
    way.look_into_stores(&way.runner.stored());
}

#[test]
fn nothing_is_shown_while_a_promotion_is_proven() {
    let (double, request) = promotion::trained();
    let mut state = promotion::merged();
    state["tokens"][GITHUB_TOKEN] = state["tokens"]["job"].take();
    state["tokens"]["job"].take();
    double.control("state", &state);
    let push = promotion::push(&request);
    let mut way = Way::new(double, push, "main", &[("github-token", GITHUB_TOKEN)]);
    way.suffer(&[
        ("GET", "/commits/[0-9a-f]+/pulls"),
        ("GET", "/actions/runs[?]"),
        ("GET", "/contents/"),
        ("GET", "/actions/runs/1001/artifacts"),
    ]);
    // The step repeats a download, so these faults must last. After a promotion, no later step
    // would send the request again.
    for path in ["/actions/artifacts/[0-9]+/zip", "/actions-results/"] {
        for action in way.actions() {
            way.step(&json!([{"method": "GET", "path": path, "times": 100, "action": action}]));
            assert!(
                way.double.look("faults")[0]["struck"].as_u64() > Some(0),
                "{path} was not asked for"
            );
        }
    }
    let step = way.step(&json!([]));
    assert_eq!(step.output("reason"), "hit", "{}", step.log);
    way.look_into_stores(&way.runner.stored());
}

#[test]
fn a_token_that_returns_in_another_spelling_is_not_shown() {
    const TOKEN: &str = "canary+git\"hub/token?6Zq7";
    let (double, deploy, _) = later_job(TOKEN);
    let mut way = Way::new(double, deploy, "restore", &by_run(TOKEN));
    way.canaries.add("github-token", TOKEN);
    for spelling in [
        "canary%2Bgit%22hub/token%3F6Zq7",
        "canary%2bgit%22hub/token%3f6Zq7",
        "canary%2Bgit%22hub%2Ftoken%3F6Zq7",
        r#"canary+git\"hub/token?6Zq7"#,
        r#"canary+git\"hub\/token?6Zq7"#,
    ] {
        let answer = json!({"status": 403, "body": {"message": format!("not with {spelling}")}});
        let step =
            way.step(&json!([{"path": "/actions/runs/1001", "times": 100, "action": answer}]));
        step.fails(1, &["not with ***"]);
    }
}

#[test]
fn nothing_is_shown_of_a_token_where_a_message_is_cut() {
    let (double, deploy, _) = later_job(GITHUB_TOKEN);
    let mut way = Way::new(double, deploy, "restore", &by_run(GITHUB_TOKEN));
    for before in [480, 490, 496] {
        let message = format!("{}{{{{bearer}}}}", "-".repeat(before));
        for answer in [
            json!({"status": 403, "body": {"message": message}}),
            json!({"status": 200, "body": {"id": message}}),
        ] {
            let step =
                way.step(&json!([{"path": "/actions/runs/1001", "times": 100, "action": answer}]));
            step.fails(1, &["-----"]);
            assert!(!step.log.lines().any(|line| line.contains("-ghs_")), "{}", step.log);
        }
    }
}

#[test]
fn the_command_line_takes_its_token_from_the_environment() {
    let (_double, mut deploy, _) = later_job(GITHUB_TOKEN);
    let store = deploy.inputs_of()["store"].clone();
    deploy.env("GITHUB_REPOSITORY", "acme/serving");
    let line = [
        "resolve",
        "--model",
        "fraud",
        "--store",
        &store,
        "--repository",
        REPOSITORY,
        "--run-id",
        "1001",
    ];
    let resolve = |variables: &[(&str, &str)], more: &[&str]| {
        let (mut command, files) = deploy.command("", BTreeMap::new(), &State::new());
        let output =
            command.args(line).args(more).envs(variables.iter().copied()).output().unwrap();
        files.read(output.status.code(), &[output.stdout, output.stderr])
    };
    for (variables, more) in [
        (&[("GITHUB_TOKEN", GITHUB_TOKEN)][..], &[][..]),
        (&[("GH_TOKEN", GITHUB_TOKEN)], &[]),
        (&[("GITHUB_TOKEN", GITHUB_TOKEN), ("GH_TOKEN", "unknown")], &[]),
        (&[("GITHUB_TOKEN", ""), ("GH_TOKEN", GITHUB_TOKEN)], &[]),
        (&[("GITHUB_TOKEN", "unknown")], &["--github-token", GITHUB_TOKEN]),
    ] {
        resolve(variables, more).succeeds();
    }
    resolve(&[], &[]).fails(2, &["`run-id` needs a `github-token`"]);
    resolve(&[("GH_TOKEN", "unknown")], &[]).fails(1, &["401"]);
}

#[test]
fn no_secret_stands_in_the_list_of_processes() {
    let (way, _server) = saving();
    way.double.control("faults", &json!([{"path": "/oidc", "action": {"delay": 0.5}}]));
    let inputs = way.runner.input_variables("save", &way.runner.inputs_of());
    let (mut command, files) = way.runner.command("save", inputs, &State::new());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| !way.double.look("requests?path=/oidc").as_array().unwrap().is_empty());
    let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    way.canaries.are_not_in("the command line", &line);
    assert_eq!(line.iter().filter(|byte| **byte == 0).count(), 1, "there are no arguments at all");
    let output = child.wait_with_output().unwrap();
    files.read(output.status.code(), &[output.stdout, output.stderr]).succeeds();
}

#[test]
fn tokens_that_cannot_be_sent_are_not_shown() {
    for token in [
        "canary-6Zq5-token\nx: y",
        "canary-6Zq5-token\r\n",
        "canary-6Zq5-token\u{7f}",
        "canary-6Zq5-tökén",
    ] {
        let (_double, mut deploy, _) = later_job("reader");
        deploy.env("RUNNER_DEBUG", "1");
        let asked = deploy.step_with("restore", &by_run(token));
        let (_double, _server, mut runner) = identity::job(&json!({"id-token": "write"}));
        runner.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token);
        for step in [asked, runner.main()] {
            assert_ne!(step.code, 0, "{}", step.log);
            step.has_all_outputs();
            // A token with only a line end behind it is sent without the line end, and masked.
            let mut shown = step.raw.lines().filter(|line| !line.starts_with("::add-mask::"));
            assert!(!shown.any(|line| line.contains("canary")), "{token:?}: {}", step.log);
            assert!(!step.log.contains("panicked"), "{token:?}: {}", step.log);
        }
    }
}
