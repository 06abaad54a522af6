//! Limits of the REST API: requests, items on a page, rights of a token, and our patience.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::artifacts::{REPOSITORY, by_run, later_job};
use super::promotion;
use super::runner::{Runner, Step};
use crate::support::double::Double;

fn restore(deploy: &Runner) -> Step {
    deploy.step_with("restore", &by_run("reader"))
}

/// Restores under a fault that must strike `struck` times.
///
/// No attempt begins later than five seconds after the first. A busy machine may miss that, so this
/// repeats the restore.
#[track_caller]
fn restore_through(double: &Double, deploy: &Runner, fault: &Value, struck: u64) -> Step {
    for _ in 0..5 {
        double.control("faults", &json!([fault]));
        let step = restore(deploy);
        if double.look("faults")[0]["struck"] == struck {
            return step;
        }
    }
    panic!("{fault} did not strike {struck} times");
}

fn requests(double: &Double, path: &str) -> Vec<String> {
    let target = |request: &Value| {
        format!("{}?{}", request["path"].as_str().unwrap(), request["query"].as_str().unwrap())
    };
    double.look(&format!("requests?path={path}")).as_array().unwrap().iter().map(target).collect()
}

#[test]
fn a_token_that_is_used_up_is_told_as_that_and_not_tried_again() {
    let (double, deploy, _) = later_job("reader");
    double.control("state", &json!({"tokens": {"reader": {"rate_limit": 0}}}));
    let step = restore(&deploy);
    step.fails(1, &["answered 403", "API rate limit exceeded", "hint: try again later"]);
    assert!(!step.log.contains("actions: read"), "{}", step.log);
    assert_eq!(requests(&double, "/repos/").len(), 1);
}

#[test]
fn limits_are_told_as_limits_and_long_waits_refused() {
    for (status, headers) in [
        (429, json!({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "4102444800"})),
        (429, json!({"x-ratelimit-remaining": "0"})),
        (429, json!({"retry-after": "3600"})),
        (403, json!({"retry-after": "61"})),
        (403, json!({"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"})),
    ] {
        let (double, deploy) = limited(status, &headers, json!({}));
        let step = restore(&deploy);
        step.fails(
            1,
            &["secondary rate limit", "hint: try again later, or set another `github-token`"],
        );
        assert_eq!(requests(&double, "/actions/runs/1001").len(), 1, "nobody waits to ask again");
    }
}

#[test]
fn a_server_that_wants_a_moment_gets_it() {
    for status in [403, 429] {
        let (double, deploy) = limited(status, &json!({"retry-after": "1"}), json!({"times": 1}));
        let started = Instant::now();
        restore(&deploy).succeeds();
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(questions_for_the_run(&double), 2);
    }
    // The patience is limited.
    let (double, deploy) = limited(429, &json!({"retry-after": "0"}), json!({}));
    restore(&deploy).fails(1, &["secondary rate limit", "hint: try again later"]);
    assert_eq!(questions_for_the_run(&double), 3);
}

#[test]
fn a_limit_that_ends_soon_is_waited_for() {
    for status in [403, 429] {
        let reset = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 4;
        let headers = json!({"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset.to_string()});
        let (double, deploy) = limited(status, &headers, json!({"times": 1}));
        restore(&deploy).succeeds();
        assert!(SystemTime::now() >= UNIX_EPOCH + Duration::from_secs(reset));
        assert_eq!(questions_for_the_run(&double), 2);
    }
    // A refusal while requests remain is not a rate limit, so the step does not wait.
    let headers = json!({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "0"});
    let (double, deploy) = limited(403, &headers, json!({}));
    restore(&deploy).fails(1, &["secondary rate limit", "`actions: read`"]);
    assert_eq!(questions_for_the_run(&double), 1);
}

#[test]
fn a_limit_of_unknown_length_may_pass() {
    let (double, deploy) = limited(429, &json!({}), json!({"times": 2}));
    restore(&deploy).succeeds();
    assert_eq!(questions_for_the_run(&double), 3);
    let (double, deploy) = limited(429, &json!({}), json!({}));
    restore(&deploy).fails(1, &["answered 429", "hint: try again later"]);
    assert_eq!(questions_for_the_run(&double), 3);
}

fn questions_for_the_run(double: &Double) -> usize {
    requests(double, "/actions/runs/1001").iter().filter(|asked| asked.ends_with("/1001?")).count()
}

/// A deployment whose request for the run gets this answer; `when` says how often.
fn limited(status: u16, headers: &Value, when: Value) -> (Double, Runner) {
    let (double, deploy, _) = later_job("reader");
    let body =
        json!({"message": "You have exceeded a secondary rate limit. Please wait a few minutes."});
    let mut rule = json!({
        "path": "/actions/runs/1001",
        "action": {"status": status, "headers": headers, "body": body},
    });
    rule.as_object_mut().unwrap().extend(when.as_object().unwrap().clone());
    double.control("faults", &json!([rule]));
    (double, deploy)
}

#[test]
fn an_answer_that_never_ends_is_refused() {
    let (double, deploy, _) = later_job("reader");
    let body = json!({"message": "x".repeat(33 << 20)});
    double.control(
        "faults",
        &json!([{"path": "/actions/runs/1001", "action": {"status": 200, "body": body}}]),
    );
    restore(&deploy).fails(
        1,
        &["cannot read /repos/acme/fraud-detection/actions/runs/1001", "more than 33554432 bytes"],
    );
    assert_eq!(requests(&double, "/actions/runs/1001").len(), 1);
}

#[test]
fn a_push_trains_where_the_limit_hides_what_was_merged() {
    let (double, request) = promotion::trained();
    let mut state = promotion::merged();
    state["tokens"]["job"]["rate_limit"] = json!(0);
    double.control("state", &state);
    let push = promotion::push(&request);
    let step = push.main();
    promotion::retrains(&push, &step, "API rate limit exceeded");
    assert_eq!(requests(&double, "/repos/").len(), 1);
}

/// Artifacts of the same run that are newer than the pointer.
fn newer(count: usize) -> Value {
    let artifact = |n: usize| {
        json!({
            "repository": REPOSITORY, "run_id": 1001, "name": format!("log-{n}"), "files": {},
        })
    };
    json!({"artifacts": (0..count).map(artifact).collect::<Vec<_>>()})
}

#[test]
fn a_pointer_on_the_second_page_is_found() {
    let (double, deploy, _) = later_job("reader");
    double.control("state", &newer(150));
    restore(&deploy).succeeds();
    assert_eq!(deploy.read("models/model.bin"), "weights");
    let pages = requests(&double, "/actions/runs/1001/artifacts");
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert!(pages.iter().all(|page| page.contains("per_page=100")), "{pages:?}");

    // After an exactly full page there may be another page.
    let (double, deploy, _) = later_job("reader");
    double.control("state", &newer(100));
    restore(&deploy).succeeds();
    assert_eq!(requests(&double, "/actions/runs/1001/artifacts").len(), 2);
}

#[test]
fn a_run_with_too_many_artifacts_is_not_read_for_ever() {
    let (double, deploy, _) = later_job("reader");
    double.control("state", &newer(1050));
    restore(&deploy).fails(3, &["has no artifact `ml-cache-fraud`", "among its newest 1000"]);
    assert_eq!(requests(&double, "/actions/runs/1001/artifacts").len(), 10);
}

#[test]
fn an_api_whose_pages_never_end_is_left() {
    let (double, deploy, _) = later_job("reader");
    let artifact = |n: u64| json!({"id": n, "name": "log", "size_in_bytes": 1, "expired": false});
    let page = json!({"total_count": 100, "artifacts": (0..100).map(artifact).collect::<Vec<_>>()});
    double.control(
        "faults",
        &json!([{"path": "1001/artifacts", "action": {"status": 200, "body": page}}]),
    );
    restore(&deploy).fails(3, &["has no artifact"]);
    assert_eq!(requests(&double, "/actions/runs/1001/artifacts").len(), 10);
}

#[test]
fn an_answer_without_end_is_not_told_in_full() {
    let (double, deploy, _) = later_job("reader");
    for body in [json!("<html>".repeat(100_000)), json!({"message": "no ".repeat(200_000)})] {
        double.control(
            "faults",
            &json!([{"path": "/actions/runs/1001", "action": {"status": 502, "body": body}}]),
        );
        let step = restore(&deploy);
        step.fails(1, &["the GitHub API answered 502"]);
        assert!(step.log.len() < 5000, "{} bytes were said", step.log.len());
    }
}

#[test]
fn a_token_that_may_list_but_not_download_is_told_as_that() {
    let (double, deploy, _) = later_job("reader");
    for (status, hint) in
        [(403, "actions: read"), (401, "set a valid `github-token`"), (404, "check `repository`")]
    {
        double.control(
            "faults",
            &json!([{"path": "/zip", "action": {"status": status, "body": {"message": "no"}}}]),
        );
        let step = deploy.step_with("restore", &by_run("reader"));
        step.fails(1, &["cannot download the artifact", &status.to_string(), "hint: ", hint]);
    }
}

#[test]
fn passing_faults_of_the_api_are_overcome() {
    let (double, deploy, _) = later_job("reader");
    for path in [
        "/repos/acme/fraud-detection([?]|$)",
        "/actions/runs/1001([?]|$)",
        "/actions/runs/1001/artifacts",
    ] {
        for action in
            [json!({"status": 502, "body": "<html>"}), json!("reset"), json!({"truncate": 10})]
        {
            let fault = json!({"path": path, "nth": [1, 2], "action": action});
            restore_through(&double, &deploy, &fault, 2).succeeds();
        }
        double.control("faults", &json!([{"path": path, "action": {"status": 502}}]));
        restore(&deploy).fails(1, &["answered 502"]);
    }
    // The first answer is a redirect without a body, so no fault can truncate it.
    for (path, actions) in [
        (
            "/actions/artifacts/[0-9]+/zip",
            vec![json!({"status": 502}), json!("reset"), json!("drop-reply")],
        ),
        (
            "/actions-results/",
            vec![json!({"status": 503}), json!("reset"), json!({"truncate": 10})],
        ),
    ] {
        for action in actions {
            let fault = json!({"path": path, "nth": [1, 2], "action": action});
            restore_through(&double, &deploy, &fault, 2).succeeds();
        }
        let fault = json!({"path": path, "action": {"status": 502}});
        restore_through(&double, &deploy, &fault, 3)
            .fails(1, &["cannot download the artifact", "answered 502"]);
    }
}

#[test]
fn an_artifact_that_has_expired_is_told_with_a_way_out() {
    let (double, deploy, _) = later_job("reader");
    double.control("faults", &json!([{"path": "/zip", "action": {"status": 410}}]));
    restore(&deploy).fails(1, &["it has expired", "hint: ", "leave `run-id` out", "`fingerprint`"]);
}
