//! Credentials that end in the middle of a transfer.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::identity::{self, ROLE};
use super::runner::Runner;
use crate::support::cli::noise;
use crate::support::double::Double;
use crate::support::s3::{Fault, Server};

const BLOBS: &str = "/v1/blobs/";
/// The lifetime of credentials in seconds, so short that a save needs a good part of it. A third
/// before its end, they are renewed.
const SOON: u32 = 6;

/// A job with 40 blobs, more than it sends at once. The double gives every session another token.
fn job() -> (Double, Server, Runner) {
    let (double, server, runner) = identity::job(&json!({"id-token": "write"}));
    let role = json!({
        "subjects": ["repo:acme/fraud-detection:*"], "access_key_id": server.endpoint.access_key,
        "secret_access_key": server.endpoint.secret_key,
    });
    double.control("state", &json!({"roles": {ROLE: Value::Null}}));
    double.control("state", &json!({"roles": {ROLE: role}}));
    std::fs::create_dir(runner.path("models")).unwrap();
    for n in 0..40 {
        std::fs::write(runner.path(&format!("models/{n}.bin")), noise(n, (4 << 20) + 1)).unwrap();
    }
    (double, server, runner)
}

fn tokens(server: &Server, method: Method, path: &str) -> BTreeSet<String> {
    let token = |request: &crate::support::s3::Recorded| {
        request.header("x-amz-security-token").unwrap().to_owned()
    };
    server.requests_to(method, path).iter().map(token).collect()
}

#[test]
fn a_role_is_assumed_again_while_a_model_is_saved() {
    let (double, server, runner) = job();
    double.control("state", &json!({"settings": {"sts_seconds": SOON}}));
    // The delays last so long that the last blobs need new credentials.
    server.fault(Method::PUT, BLOBS, 1..=32, Fault::Delay(Duration::from_secs(SOON.into())));
    runner.step("save").succeeds();
    assert!(
        tokens(&server, Method::PUT, BLOBS).len() >= 2,
        "blobs were sent with old and new credentials"
    );
    assert_eq!(server.objects("/pointers/").len(), 1);

    let sessions = double.look("state")["sessions"].as_array().unwrap().len();
    let asked = double.look("requests?path=/sts");
    let id_tokens: BTreeSet<&str> = asked
        .as_array()
        .unwrap()
        .iter()
        .map(|request| request["body"].as_str().unwrap().split("WebIdentityToken=").nth(1).unwrap())
        .collect();
    assert!(sessions >= 2, "{sessions}");
    assert_eq!(id_tokens.len(), sessions, "every time with a fresh id token");
    assert_eq!(double.look("requests?path=/oidc").as_array().unwrap().len(), sessions);
}

#[test]
fn credentials_that_live_on_are_kept() {
    let (double, server, runner) = job();
    runner.step("save").succeeds();
    assert_eq!(tokens(&server, Method::PUT, "/").len(), 1);
    assert_eq!(double.look("state")["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_renewal_that_fails_for_a_while_does_no_harm() {
    // The step renews credentials when a third of their life is left, and its first attempts fail.
    // A busy machine may need longer than that third, so each round doubles the life.
    let last = [12, 24, 48, 96].into_iter().find_map(|life| {
        let (double, server, runner) = job();
        double.control("state", &json!({"settings": {"sts_seconds": life}}));
        double.control(
            "faults",
            &json!([{"path": "/oidc", "nth": [2, 3, 4, 5, 6], "action": {"status": 503}}]),
        );
        server.fault(Method::PUT, BLOBS, 1..=32, Fault::Delay(Duration::from_secs(life * 2 / 3)));
        // After the failure, the old credentials stay in use for a twelfth of their life at most.
        // The last blobs take longer than that, so the manifest meets the next attempt.
        server.fault(Method::PUT, BLOBS, 33.., Fault::Delay(Duration::from_secs(life / 12 + 1)));
        let step = runner.step("save");
        let was_too_late = step.code != 0 && step.log.contains("cannot renew the credentials");
        (!was_too_late).then_some((double, server, step))
    });
    let (double, server, step) =
        last.expect("a renewal that fails ends the save, however long the credentials live");
    step.succeeds();
    assert!(tokens(&server, Method::PUT, "/").len() >= 2, "{}", step.log);
    assert!(double.look("requests?path=/oidc").as_array().unwrap().len() >= 7, "{}", step.log);
    assert_eq!(server.objects("/pointers/").len(), 1);
}

#[test]
fn a_role_that_is_lost_during_a_save_leaves_nothing_visible() {
    let (double, server, runner) = job();
    double.control("state", &json!({"settings": {"sts_seconds": SOON}}));
    server.fault(Method::PUT, BLOBS, 1..=8, Fault::Delay(Duration::from_secs(SOON.into())));
    double.control(
        "faults",
        &json!([{"path": "/oidc", "nth": (2..200).collect::<Vec<_>>(), "action": {"status": 403}}]),
    );
    let step = runner.step("save");
    step.fails(
        1,
        &["cannot renew the credentials", "cannot get an OIDC token", "hint:", "id-token: write"],
    );
    assert!(server.objects("/pointers/").is_empty());
}

#[test]
fn credentials_that_the_store_calls_expired_are_told_as_that() {
    let (double, server, runner) = job();
    // The store accepts the first blobs. At most 32 requests run at first, so some of them have
    // ended before the 36th begins.
    server.fault(Method::PUT, BLOBS, 36.., Fault::Answer(400, "ExpiredToken"));
    let step = runner.step("save");
    step.fails(1, &["::error::", "ExpiredToken", "hint: ", "role"]);
    assert!(server.objects("/pointers/").is_empty(), "nothing is visible");
    let sent = server.requests_to(Method::PUT, BLOBS).len();
    assert!(sent < 60, "{sent}");
    assert!(double.look("state")["sessions"].as_array().unwrap().len() < 10);

    // The sent blobs stay in the store, so a later save continues from there.
    let there = server.objects(BLOBS).len();
    assert!((1..40).contains(&there), "{there}");
    server.reset();
    let step = runner.step("save");
    step.succeeds();
    let sent = format!("{} objects", 40 - there);
    assert!(step.summary.contains(&sent), "{sent}: {}", step.summary);
}
