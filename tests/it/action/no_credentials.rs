//! Without credentials, a container fails within seconds and names the remedies.

use super::runner::Runner;
use crate::support::listener::{Listener, Manner};
use crate::support::s3::Server;

const NAMES: [&str; 4] = [
    "no AWS credentials were found",
    "AWS_ACCESS_KEY_ID",
    "role-to-assume",
    "hop limit of 2 or more",
];

/// A job on S3 without credentials, on a machine whose metadata service is at `metadata`.
fn job(server: &Server, metadata: &str) -> Runner {
    let mut runner = Runner::on_server(server);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"] {
        runner.unset(name);
    }
    runner.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata);
    runner
}

#[track_caller]
fn says_so(runner: &Runner, server: &Server) {
    runner.train("weights");
    for phase in ["main", "plan", "restore", "save"] {
        let step = runner.step(phase);
        step.fails(1, &NAMES);
        step.has_all_outputs();
        assert_eq!(step.output("retrain-needed"), "true", "{phase}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_machine_without_a_metadata_service() {
    let server = Server::start();
    says_so(&job(&server, "http://127.0.0.1:9"), &server);
}

#[test]
fn a_metadata_service_that_does_not_reach_into_containers() {
    // With a hop limit of 1, the service accepts the connection and its answer is lost.
    let server = Server::start();
    let metadata = Listener::start(Manner::KeepsSilent);
    says_so(&job(&server, &metadata.url), &server);
    let asked = metadata.connections();
    assert!(asked.iter().any(|head| head.starts_with("PUT /latest/api/token")), "{asked:?}");
    // Each unanswered request costs a second, so their number limits the wait for the message.
    assert!(asked.len() <= 4 * 4, "{asked:?}");
}

#[test]
fn a_metadata_service_that_refuses() {
    let server = Server::start();
    let metadata = Listener::start(Manner::Refuses);
    says_so(&job(&server, &metadata.url), &server);
}

#[test]
fn a_metadata_service_that_is_switched_off() {
    let server = Server::start();
    let mut runner = job(&server, "http://127.0.0.1:9");
    runner.env("AWS_EC2_METADATA_DISABLED", "true");
    says_so(&runner, &server);
}
