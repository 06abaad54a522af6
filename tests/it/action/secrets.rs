//! Credentials, and the names of buckets and hosts, stay out of everything that a step leaves behind.

use super::runner::{Runner, State, Step};
use crate::support::s3::Endpoint;

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
    fn on_s3(endpoint: &Endpoint) -> (Self, String) {
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
        // As it comes from a file or a clipboard.
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
