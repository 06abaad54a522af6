//! The source of the credentials: no identity of the machine counts that the step did not ask for,
//! and log and summary name the source.

use std::fs;

use hyper::Method;
use serde_json::json;

use super::identity::{self, ROLE};
use super::runner::{Runner, State, Step};

use crate::support::double::Double;
use crate::support::listener::{Listener, Manner};
use crate::support::s3::{Fault, Server};

const PHASES: [&str; 4] = ["main", "plan", "restore", "save"];
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
const MACHINE: &str = "the machine's identity (instance metadata)";
const ENVIRONMENT: &str = "keys of the environment";

/// A job without keys, on a machine in AWS whose identity may use the store.
fn on_a_machine() -> (Server, Listener, Runner) {
    let server = Server::start();
    let [id, secret] = [&server.endpoint.access_key, &server.endpoint.secret_key]
        .map(|half| &*half.clone().leak());
    let metadata = Listener::start(Manner::HasIdentity(id, secret));
    let mut runner = Runner::on_server(&server);
    KEYS.iter().for_each(|name| runner.unset(name));
    runner.env("AWS_EC2_METADATA_DISABLED", "");
    runner.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
    (server, metadata, runner)
}

/// Gives the job the keys of the store.
fn set_keys(runner: &mut Runner, server: &Server) {
    runner.env(KEYS[0], &server.endpoint.access_key);
    runner.env(KEYS[1], &server.endpoint.secret_key);
}

/// Demands one line in the log, a row in the summary if there is one, and no word in an output.
#[track_caller]
fn names(step: &Step, source: &str) {
    let lines = step.log.lines().filter(|line| line.contains("credentials: ")).count();
    let line = format!("fraud: credentials: {source}");
    assert!(lines == 1 && step.log.contains(&line), "{line:?} is not in:\n{}", step.log);
    if !step.summary.is_empty() {
        let row = format!("| Credentials | {} |", ml_cache::sanitize::markdown(source));
        assert_eq!(step.summary.matches(&row).count(), 1, "{}", step.summary);
    }
    assert!(step.outputs.values().all(|value| !value.contains(source)), "{:?}", step.outputs);
}

#[test]
fn a_busy_service_of_the_machine_is_asked_again() {
    let server = Server::start();
    let [id, secret] = [&server.endpoint.access_key, &server.endpoint.secret_key]
        .map(|half| &*half.clone().leak());
    for is_container in [false, true] {
        let service = Listener::start(Manner::HasIdentityAndIsBusy(id, secret));
        let mut runner = Runner::on_server(&server);
        KEYS.iter().for_each(|name| runner.unset(name));
        if is_container {
            let uri = format!("{}/security-credentials/machine", service.url);
            runner.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri);
        } else {
            runner.env("AWS_EC2_METADATA_DISABLED", "");
            runner.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.url);
        }
        runner.step("plan").succeeds();
        let asked = service.connections();
        assert!(asked.len() >= 2, "{asked:?}");
    }
}

#[test]
fn an_empty_role_never_means_the_identity_of_the_machine() {
    let (server, metadata, mut runner) = on_a_machine();
    runner.train("weights");
    for empty in ["", "  "] {
        runner.input("role-to-assume", empty);
        for phase in PHASES {
            let step = runner.step(phase);
            step.fails(2, &["`role-to-assume` is given but empty", "remove the line", "ambient"]);
            step.has_all_outputs();
            assert_eq!(step.output("retrain-needed"), "true", "{phase}");
        }
    }
    // Other runners spell the variable with underscores.
    let mut inputs = runner.input_variables("main", &runner.inputs_of());
    let role = inputs.remove("INPUT_ROLE-TO-ASSUME").unwrap();
    inputs.insert("INPUT_ROLE_TO_ASSUME".to_owned(), role);
    runner.run("main", inputs, &State::new()).fails(2, &["given but empty"]);
    // Neither the store nor the metadata service heard of the job.
    assert!(server.requests().is_empty() && metadata.connections().is_empty());
}

#[test]
fn an_empty_role_takes_no_profile_container_or_token_file() {
    let (server, _metadata, mut runner) = on_a_machine();
    let double = Double::start();
    let home = runner.env_of("HOME").unwrap();
    fs::create_dir(format!("{home}/.aws")).unwrap();
    let (id, secret) = (&server.endpoint.access_key, &server.endpoint.secret_key);
    let profile =
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(format!("{home}/.aws/credentials"), profile).unwrap();
    runner.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/keys", double.url));
    runner.env("AWS_WEB_IDENTITY_TOKEN_FILE", "token");
    runner.env("AWS_ROLE_ARN", ROLE);
    runner.input("role-to-assume", "");
    runner.main().fails(2, &["given but empty"]);
    assert!(server.requests().is_empty() && double.look("requests").as_array().unwrap().is_empty());
    runner.input("credentials", "ambient");
    names(&runner.main(), "a profile of the AWS configuration");
}

#[test]
fn the_identity_of_the_machine_counts_where_a_step_asks_for_it() {
    for inputs in [&[("role-to-assume", ""), ("credentials", "ambient")][..], &[]] {
        let (server, _metadata, mut runner) = on_a_machine();
        inputs.iter().for_each(|(name, value)| runner.input(name, value));
        let main = runner.main();
        main.succeeds();
        names(&main, MACHINE);
        runner.train("weights");
        let post = runner.post(&main);
        post.succeeds();
        names(&post, MACHINE);
        assert!(!server.objects("/pointers/").is_empty());
        for phase in ["plan", "restore", "resolve", "save"] {
            let step = runner.step(phase);
            step.succeeds();
            names(&step, MACHINE);
        }
    }
}

#[test]
fn a_post_step_without_defaults_has_an_omitted_role() {
    // The runner act gives a post step the inputs that the user set, and no defaults.
    let (_server, _metadata, runner) = on_a_machine();
    let main = runner.main();
    runner.train("weights");
    let mut inputs = runner.input_variables("post", &runner.inputs_of());
    inputs.remove("INPUT_ROLE-TO-ASSUME").unwrap();
    inputs.remove("INPUT_CREDENTIALS").unwrap();
    let post = runner.run("post", inputs, &main.state);
    post.succeeds();
    names(&post, MACHINE);
}

#[test]
fn keys_of_the_environment_go_with_an_empty_role() {
    let (server, metadata, mut runner) = on_a_machine();
    set_keys(&mut runner, &server);
    runner.train("weights");
    for role in [Some(""), None] {
        if let Some(role) = role {
            runner.input("role-to-assume", role);
        }
        for phase in ["main", "plan", "save", "restore"] {
            let step = runner.step(phase);
            step.succeeds();
            names(&step, ENVIRONMENT);
        }
    }
    assert!(metadata.connections().is_empty());
}

#[test]
fn half_a_key_never_means_the_identity_of_the_machine() {
    for (at, name) in KEYS.iter().enumerate() {
        let (server, metadata, mut runner) = on_a_machine();
        set_keys(&mut runner, &server);
        runner.env(name, "");
        runner.main().fails(2, &[name, "is empty", "set both halves"]);
        assert!(server.requests().is_empty() && metadata.connections().is_empty(), "{at}");
        runner.input("credentials", "ambient");
        names(&runner.main(), MACHINE);
    }
}

#[test]
fn empty_variables_never_mean_the_identity_of_the_machine() {
    for names in
        [&KEYS[..], &["AWS_PROFILE"], &["AWS_SESSION_TOKEN"], &["AWS_WEB_IDENTITY_TOKEN_FILE"]]
    {
        let (server, metadata, mut runner) = on_a_machine();
        runner.train("weights");
        names.iter().for_each(|name| runner.env(name, ""));
        for phase in PHASES {
            runner.step(phase).fails(2, &[names[0], "is given but empty", "credentials: ambient"]);
        }
        assert!(server.requests().is_empty() && metadata.connections().is_empty(), "{names:?}");
    }
    let (_server, _metadata, mut runner) = on_a_machine();
    KEYS.iter().for_each(|name| runner.env(name, ""));
    runner.input("credentials", "ambient");
    self::names(&runner.main(), MACHINE);
}

#[test]
fn a_role_comes_first_and_is_named_without_its_account() {
    for credentials in ["auto", "ambient"] {
        let (_double, _server, mut runner) = identity::job(&json!({"id-token": "write"}));
        runner.input("credentials", credentials);
        let main = runner.main();
        main.succeeds();
        names(&main, "the role ml-cache by OIDC");
        assert!(!main.summary.contains("123456789012"));
    }
}

#[test]
fn a_failed_step_names_the_credentials_that_it_used() {
    let (server, _metadata, mut runner) = on_a_machine();
    set_keys(&mut runner, &server);
    runner.env(KEYS[1], "not-the-secret");
    let step = runner.main();
    step.fails(1, &["SignatureDoesNotMatch"]);
    names(&step, ENVIRONMENT);
}

#[test]
fn a_run_without_credentials_may_train_and_may_save_nothing() {
    let (server, metadata, mut runner) = on_a_machine();
    runner.input("role-to-assume", "");
    runner.pull_request("evil/fork");
    runner.train("weights");
    let save = runner.step("save");
    save.succeeds();
    assert!(save.log.contains("not saved"), "{}", save.log);
    runner.step("plan").fails(1, &["given but empty", "on-error: retrain"]);
    runner.input("on-error", "retrain");
    for phase in ["plan", "main"] {
        let step = runner.step(phase);
        step.succeeds();
        assert_eq!(step.pick(["reason", "retrain-needed"]), ["store-unavailable", "true"]);
        assert!(step.log.contains("given but empty"), "{}", step.log);
    }
    assert!(server.requests().is_empty() && metadata.connections().is_empty());
}

#[test]
fn without_credentials_requests_are_unsigned_and_only_read() {
    let (server, metadata, mut runner) = on_a_machine();
    set_keys(&mut runner, &server);
    runner.input("credentials", "none");
    for phase in ["main", "save"] {
        runner.step(phase).fails(2, &["`credentials`", "a save needs credentials"]);
    }
    runner.input("role-to-assume", ROLE);
    runner.step("plan").fails(2, &["`credentials`", "`role-to-assume` names a role"]);
    runner.input("role-to-assume", "");
    assert!(server.requests().is_empty());
    for phase in ["plan", "restore"] {
        names(&runner.step(phase), "none: the requests are not signed");
    }
    let requests = server.requests();
    assert!(!requests.is_empty() && metadata.connections().is_empty());
    for request in requests {
        assert!(["GET", "HEAD"].contains(&request.method.as_str()), "{request:?}");
        assert_eq!(request.header("authorization"), None);
    }
    // S3 answers so for a missing object too, if not everybody may list.
    server.fault(Method::GET, "/v1/", 1.., Fault::Busy(403, 0));
    for phase in ["plan", "restore"] {
        runner.step(phase).fails(1, &["403", "let everybody read there"]);
    }
}

#[test]
fn a_directory_needs_no_credentials_and_names_none() {
    let mut runner = Runner::new();
    runner.input("role-to-assume", "");
    let main = runner.main();
    main.succeeds();
    assert!(!main.log.contains("credentials") && !main.summary.contains("Credentials"));
}
