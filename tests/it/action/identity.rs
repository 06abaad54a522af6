//! Short-lived credentials: the job's OIDC token becomes a role's keys.

use hyper::Method;
use serde_json::json;

use super::runner::Runner;
use crate::support::double::Double;
use crate::support::s3::Server;

pub(super) const TOKEN: &str = "canary-session-token-9Zx4";
pub(super) const ROLE: &str = "arn:aws:iam::123456789012:role/ml-cache";

/// A job that may request a token, a store in this process, and a role that the double knows.
pub(super) fn job(permissions: &serde_json::Value) -> (Double, Server, Runner) {
    let (double, server) = (Double::start(), Server::start());
    double.control(
        "state",
        &json!({"roles": {ROLE: {
            "subjects": ["repo:acme/fraud-detection:*"],
            "access_key_id": server.endpoint.access_key,
            "secret_access_key": server.endpoint.secret_key, "session_token": TOKEN,
        }}}),
    );
    let mut runner = Runner::new();
    for (name, value) in double.job(json!({"permissions": permissions})) {
        runner.env(&name, &value);
    }
    runner.env("AWS_ENDPOINT_URL_STS", &format!("{}/sts/", double.url));
    for (name, value) in [
        ("store", "s3://models/cache"),
        ("endpoint-url", &server.endpoint.url),
        ("region", "eu-central-1"),
        ("role-to-assume", ROLE),
    ] {
        runner.input(name, value);
    }
    (double, server, runner)
}

#[test]
fn the_role_signs_the_requests_and_nothing_of_it_is_shown() {
    let (double, server, runner) = job(&json!({"id-token": "write"}));
    let main = runner.main();
    main.succeeds();
    runner.train("weights");
    let post = runner.post(&main);
    post.succeeds();
    assert!(!server.objects("/pointers/").is_empty(), "{}", post.log);
    for request in server.requests() {
        assert!(
            request
                .header("authorization")
                .unwrap()
                .contains(&format!("Credential={}/", server.endpoint.access_key))
        );
        assert_eq!(request.header("x-amz-security-token"), Some(TOKEN));
    }
    let asked = double.look("requests?path=/oidc");
    assert!(
        asked[0]["query"].as_str().unwrap().ends_with("&audience=sts.amazonaws.com"),
        "{asked}"
    );
    // The step masks every secret before it uses it, and shows it in no other line.
    for step in [&main, &post] {
        for secret in [TOKEN, &server.endpoint.secret_key] {
            let shown: Vec<&str> = step.log.lines().filter(|line| line.contains(secret)).collect();
            assert!(
                !shown.is_empty() && shown.iter().all(|line| line.starts_with("::add-mask::")),
                "{shown:?}"
            );
            assert!(
                !step.summary.contains(secret)
                    && step.outputs.values().all(|value| !value.contains(secret))
            );
        }
    }
}

#[test]
fn sts_uses_its_own_address_before_the_common_address() {
    for (every, own) in [("/sts/", ""), ("/nowhere/", "/sts/")] {
        let (double, server, mut runner) = job(&json!({"id-token": "write"}));
        let address = |path: &str| {
            if path.is_empty() { String::new() } else { format!("{}{path}", double.url) }
        };
        runner.env("AWS_ENDPOINT_URL", &address(every));
        runner.env("AWS_ENDPOINT_URL_STS", &address(own));
        runner.main().succeeds();
        assert_eq!(double.look("requests?path=/sts").as_array().unwrap().len(), 1, "{every} {own}");
        // The input `endpoint-url` is for the store only.
        assert!(!server.requests_to(Method::GET, "/pointers/").is_empty());
    }
}

#[test]
fn what_is_missing_is_named() {
    let (_double, server, runner) = job(&json!({}));
    runner.main().fails(1, &["cannot get an OIDC token", "id-token: write"]);
    assert!(server.requests().is_empty());

    let (_double, _server, mut runner) = job(&json!({"id-token": "write"}));
    runner.input("role-to-assume", "arn:aws:iam::123456789012:role/other");
    runner.main().fails(1, &["cannot assume the role", "trust policy"]);

    let (_double, _server, mut runner) = job(&json!({"id-token": "write"}));
    runner.input("role-to-assume", "ml-cache");
    runner.main().fails(2, &["it is not the ARN of a role"]);
}

#[test]
fn passing_faults_of_the_token_service_are_overcome() {
    let (double, server, runner) = job(&json!({"id-token": "write"}));
    double.control(
        "faults",
        &json!([{"method": "GET", "path": "/oidc", "times": 2, "action": {"status": 503}}]),
    );
    runner.main().succeeds();
    assert!(!server.requests_to(Method::GET, "/pointers/").is_empty());
}

#[test]
fn a_job_that_gets_no_token_may_still_say_that_it_saves_nothing() {
    let (_double, server, mut runner) = job(&json!({}));
    runner.pull_request("evil/fork");
    runner.train("weights");
    let save = runner.step("save");
    save.succeeds();
    assert!(save.log.contains("not saved"), "{}", save.log);
    runner
        .step("plan")
        .fails(1, &["cannot get an OIDC token", "id-token: write", "on-error: retrain"]);
    runner.input("on-error", "retrain");
    let plan = runner.step("plan");
    plan.succeeds();
    assert_eq!(plan.pick(["reason", "retrain-needed"]), ["store-unavailable", "true"]);
    assert!(plan.log.contains("cannot get an OIDC token"), "{}", plan.log);
    assert!(server.requests().is_empty());
}

#[test]
fn on_error_retrain_also_covers_an_unreachable_role() {
    for path in ["/oidc", "/sts"] {
        let (double, server, mut runner) = job(&json!({"id-token": "write"}));
        double.control("faults", &json!([{"path": path, "action": {"status": 403}}]));
        runner.input("on-error", "retrain");
        let main = runner.main();
        main.succeeds();
        assert_eq!(
            main.pick(["reason", "retrain-needed"]),
            ["store-unavailable", "true"],
            "{path} {}",
            main.log
        );
        assert!(server.requests().is_empty());
    }
}
