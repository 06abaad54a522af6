//! Credentials, and the names of buckets and hosts, stay out of all that a step leaves behind.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::json;

use super::identity;
use super::runner::{Runner, State, Step};
use crate::support::double::Double;
use crate::support::s3::{Endpoint, Fault, Server};

const CANARIES: [(&str, &str); 5] = [
    ("AWS_SECRET_ACCESS_KEY", "canary-secret-key-6Zq0"),
    ("AWS_SESSION_TOKEN", "canary-session-token-6Zq1"),
    ("ACTIONS_RUNTIME_TOKEN", "canary-runtime-token-6Zq2"),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "canary-id-token-6Zq3"),
    ("INPUT_GITHUB-TOKEN", "canary-github-token-6Zq4"),
];

#[track_caller]
fn keeps(step: &Step, secrets: &[&str]) {
    for secret in secrets {
        assert!(!step.raw.contains(secret), "{secret} is in:\n{}", step.raw);
    }
}

impl Runner {
    /// A job whose store is a fresh bucket.
    pub(super) fn on_s3(endpoint: &Endpoint) -> (Self, String) {
        let mut runner = Self::new();
        let bucket = endpoint.fresh_bucket();
        runner.input("store", &format!("s3://{bucket}/cache"));
        runner.input("endpoint-url", &endpoint.url);
        runner.input("region", &endpoint.region);
        runner.env("AWS_ACCESS_KEY_ID", &endpoint.access_key);
        runner.env("AWS_SECRET_ACCESS_KEY", &endpoint.secret_key);
        runner.env("AWS_EC2_METADATA_DISABLED", "true");
        (runner, bucket)
    }
}

#[test]
fn a_job_on_s3_shows_no_credentials_and_outputs_name_no_bucket() {
    let endpoint = Endpoint::seaweedfs();
    for debug in ["", "1"] {
        let (mut runner, bucket) = Runner::on_s3(&endpoint);
        runner.env("RUNNER_DEBUG", debug);
        for (name, value) in &CANARIES[2..] {
            runner.env(name, value);
        }
        let mut steps = vec![runner.main()];
        runner.train("weights");
        steps.push(runner.post(&steps[0]));
        let next = runner.next_job();
        steps.extend([next.main(), next.step("plan"), next.step("restore"), next.step("save")]);
        for step in &steps {
            step.succeeds();
            keeps(step, &[&endpoint.secret_key, &endpoint.access_key]);
            CANARIES.iter().for_each(|(_, secret)| keeps(step, &[secret]));
            let handed_on = format!("{:?}{:?}{}", step.outputs, step.state, step.summary);
            let host = endpoint.url.strip_prefix("http://").unwrap();
            for private in [bucket.as_str(), host, "s3://"] {
                assert!(!handed_on.contains(private), "{private} is in {handed_on}");
            }
        }
        assert_eq!(steps[2].output("reason"), "hit");
    }
}

#[test]
fn refused_credentials_are_not_shown() {
    let endpoint = Endpoint::seaweedfs();
    for debug in ["", "1"] {
        let (mut runner, _) = Runner::on_s3(&endpoint);
        runner.env("RUNNER_DEBUG", debug);
        for (name, value) in CANARIES {
            runner.env(name, value);
        }
        runner.train("weights");
        let state = State::new();
        for phase in ["main", "plan", "restore", "save", "post"] {
            let step = runner.step_after(phase, &state);
            assert_eq!(step.code, 1, "{phase}: {}", step.log);
            assert!(step.log.contains("hint:"), "{}", step.log);
            CANARIES.iter().for_each(|(_, secret)| keeps(&step, &[secret]));
        }
    }
}

#[test]
fn credentials_that_cannot_be_sent_are_not_shown() {
    let endpoint = Endpoint::seaweedfs();
    for (name, value) in [
        ("AWS_SESSION_TOKEN", "canary-6Zq5\nwith a line end"),
        ("AWS_SECRET_ACCESS_KEY", "canary-6Zq5 ::error::x\u{7f}"),
        ("AWS_ACCESS_KEY_ID", "canary-6Zq5\r\nx: y"),
        // A file or a clipboard may add such a line end.
        ("AWS_ACCESS_KEY_ID", "canary-6Zq5\n"),
        ("AWS_SECRET_ACCESS_KEY", "canary-6Zq5\n"),
        ("AWS_SESSION_TOKEN", "canary-6Zq5\n"),
        ("HTTP_PROXY", "http://user:canary-6Zq5@127.0.0.1:9"),
    ] {
        let (mut runner, _) = Runner::on_s3(&endpoint);
        runner.env("RUNNER_DEBUG", "1");
        runner.env(name, value);
        let main = runner.main();
        assert_eq!(main.code, 1, "{name}: {}", main.log);
        keeps(&main, &["canary-6Zq5"]);
        assert!(!main.log.contains("panicked"), "{}", main.log);
    }
}

/// A job without keys in its environment, and a store that refuses with this message.
fn refused_with(message: &str) -> (Server, Runner) {
    let server = Server::start();
    server.fault(Method::GET, "/pointers/", 1.., Fault::Says(message.to_owned()));
    let mut runner = Runner::on_server(&server);
    runner.env("RUNNER_DEBUG", "1");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        runner.unset(name);
    }
    (server, runner)
}

const FOUND: [&str; 3] = ["CANARYKEY6Zq5", "canary+secret/6Zq6", "canary+session/6Zq7"];

#[test]
fn keys_from_a_file_are_not_shown_where_the_store_repeats_them() {
    let [key, secret, token] = FOUND;
    let (_server, runner) = refused_with(&format!("not with {key}, {secret}, {token}"));
    let home = runner.env_of("HOME").unwrap();
    fs::create_dir(format!("{home}/.aws")).unwrap();
    let profile = format!(
        "[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token \
         = {token}\n"
    );
    fs::write(format!("{home}/.aws/credentials"), profile).unwrap();
    let step = runner.main();
    step.fails(1, &["not with ***, ***, ***"]);
    keeps(&step, &FOUND);
}

#[test]
fn keys_of_a_container_that_the_store_repeats_are_hidden() {
    let [key, secret, token] = FOUND;
    let double = Double::start();
    let (_server, mut runner) = refused_with(&format!("not with {key}, {secret}, {token}"));
    let keys = json!({
        "AccessKeyId": key, "SecretAccessKey": secret, "Token": token,
        "Expiration": "2999-01-01T00:00:00Z",
    });
    double.control("faults", &json!([{"path": "/keys", "action": {"status": 200, "body": keys}}]));
    runner.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/keys", double.url));
    runner.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-container-6Zq8");
    let step = runner.main();
    step.fails(1, &["not with ***, ***, ***"]);
    keeps(&step, &FOUND);
    let refusal = json!({"code": "Denied", "message": "not with canary-container-6Zq8"});
    double
        .control("faults", &json!([{"path": "/keys", "action": {"status": 403, "body": refusal}}]));
    let step = runner.main();
    step.fails(1, &["hint:"]);
    keeps(&step, &["canary-container-6Zq8"]);
}

#[test]
fn a_token_from_a_file_is_not_shown_where_sts_repeats_it() {
    let double = Double::start();
    let (_server, mut runner) = refused_with("no");
    let file = runner.temp().join("token");
    fs::write(&file, "canary.web+identity.6Zq9\n").unwrap();
    let refusal = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <Error><Type>Sender</Type><Code>InvalidIdentityToken</Code>\
        <Message>not with canary.web+identity.6Zq9</Message></Error></ErrorResponse>";
    double
        .control("faults", &json!([{"path": "/sts", "action": {"status": 400, "body": refusal}}]));
    for (name, value) in [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ml-cache"),
        ("AWS_ENDPOINT_URL_STS", &format!("{}/sts/", double.url)),
        ("AWS_REGION", "us-east-1"),
    ] {
        runner.env(name, value);
    }
    let step = runner.main();
    step.fails(1, &["not with ***"]);
    keeps(&step, &["canary.web"]);
}

#[test]
fn the_password_that_a_proxy_repeats_is_not_shown() {
    let header = STANDARD.encode("user:canary/6Zq5");
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let (server, mut runner) = refused_with(&format!(
            "not with Basic {header}, canary/6Zq5, canary%2f6Zq5, canary%2F6Zq5"
        ));
        let keys = [
            ("AWS_ACCESS_KEY_ID", &server.endpoint.access_key),
            ("AWS_SECRET_ACCESS_KEY", &server.endpoint.secret_key),
        ];
        keys.iter().for_each(|(name, value)| runner.env(name, value));
        runner.env(variable, &server.endpoint.url.replace("http://", "http://user:canary%2f6Zq5@"));
        runner.input("endpoint-url", "http://storage.invalid");
        let step = runner.main();
        step.fails(1, &["not with Basic ***", ", ***, ***, ***"]);
        keeps(&step, &[&header[..12], "canary"]);
    }
}

#[test]
fn credentials_in_urls_that_cannot_be_used_are_not_shown() {
    let server = Server::start();
    for url in [
        "user:canary6Zq@storage.invalid:9000",
        "http://user%3Acanary6Zq%40storage.invalid",
        "http:/user:canary6Zq@host",
    ] {
        for variable in
            ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GITHUB_API_URL", "GITHUB_SERVER_URL"]
        {
            let mut runner = Runner::on_server(&server);
            runner.env(variable, url);
            runner.env("RUNNER_DEBUG", "1");
            let inputs = match variable {
                "GITHUB_API_URL" => vec![("run-id", "7"), ("github-token", "a-token")],
                "GITHUB_SERVER_URL" => vec![("pointer", "artifact:x")],
                _ => vec![("endpoint-url", "")],
            };
            let step = runner.step_with("restore", &inputs);
            assert!([1, 2].contains(&step.code), "{variable}={url}: {}", step.log);
            step.fails(step.code, &["::error::"]);
            keeps(&step, &["canary6Zq"]);
        }
        let (_double, _server, mut runner) = identity::job(&json!({"id-token": "write"}));
        runner.env("AWS_ENDPOINT_URL_STS", url);
        let step = runner.main();
        step.fails(1, &["cannot assume the role"]);
        keeps(&step, &["canary6Zq"]);
    }
}
