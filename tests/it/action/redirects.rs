//! Redirects: a token goes only to its own host, never to a host that an answer names.

use serde_json::{Value, json};

use super::artifacts::{NO_PATHS, by_run, later_job};
use super::identity;
use super::promotion;
use crate::support::listener::{Listener, Manner};

/// A fault that redirects to another host.
fn moved(path: &str, status: u16, elsewhere: &Listener) -> Value {
    let location = format!("{}/repositories/4242", elsewhere.url);
    json!([{"path": path, "action": {
        "status": status, "body": {"message": "Moved Permanently", "url": location},
        "headers": {"Location": location},
    }}])
}

#[test]
fn the_api_leads_no_token_elsewhere() {
    let (double, deploy, _) = later_job("reader");
    let elsewhere = Listener::start(Manner::Refuses);
    for path in [
        "/repos/acme/fraud-detection([?]|$)",
        "/actions/runs/1001([?]|$)",
        "/actions/runs/1001/artifacts",
    ] {
        for status in [301, 302, 307, 308] {
            double.control("faults", &moved(path, status, &elsewhere));
            let step = deploy.step_with("restore", &by_run("reader"));
            step.fails(
                1,
                &[
                    "::error::cannot read /repos/",
                    &format!("answered {status}"),
                    "hint: ",
                    "renamed",
                ],
            );
        }
    }
    assert_eq!(elsewhere.connections(), [] as [String; 0]);
}

#[test]
fn a_promotion_leads_no_token_elsewhere() {
    let elsewhere = Listener::start(Manner::Refuses);
    let (double, request) = promotion::trained();
    double.control("state", &promotion::merged());
    for path in ["/pulls", "/actions/runs[?]", "/contents/", "/actions/runs/1001/artifacts"] {
        double.control("faults", &moved(path, 301, &elsewhere));
        let push = promotion::push(&request);
        promotion::retrains(&push, &push.main(), "answered 301");
    }
    assert_eq!(elsewhere.connections(), [] as [String; 0]);
}

#[test]
fn the_storage_of_artifacts_may_be_elsewhere_and_sees_no_token() {
    let (double, deploy, _) = later_job("reader");
    let elsewhere = Listener::start(Manner::Refuses);
    double.control("state", &json!({"settings": {"blob_origin": elsewhere.url}}));
    deploy.step_with("restore", &by_run("reader")).fails(1, &["its storage answered 403"]);
    let name = [&NO_PATHS[..], &[("pointer", "artifact:ml-cache-fraud")]].concat();
    deploy.step_with("restore", &name).fails(1, &["cannot download the artifact", "403"]);
    let uploaded = deploy.next_job();
    uploaded.train("weights");
    uploaded.write("data/a.csv", "1");
    uploaded.write("src/train.py", "1");
    uploaded.step("save").succeeds();
    let heads = elsewhere.connections();
    assert_eq!(heads.iter().map(|head| &head[..4]).collect::<Vec<_>>(), ["GET ", "GET ", "PUT "]);
    assert!(heads.iter().all(|head| !head.to_lowercase().contains("authorization")), "{heads:?}");
}

#[test]
fn the_storage_cannot_lead_further() {
    let (double, deploy, name) = later_job("reader");
    let elsewhere = Listener::start(Manner::Refuses);
    double.control("faults", &moved("/actions-results/", 302, &elsewhere));
    let artifact = format!("artifact:{name}");
    let named = [&NO_PATHS[..], &[("pointer", &artifact)]].concat();
    for inputs in [by_run("reader"), named] {
        deploy.step_with("restore", &inputs).fails(1, &["302"]);
    }
    assert_eq!(elsewhere.connections(), [] as [String; 0]);
}

#[test]
fn the_results_service_leads_no_token_elsewhere() {
    let (double, deploy, name) = later_job("reader");
    let elsewhere = Listener::start(Manner::Refuses);
    let artifact = format!("artifact:{name}");
    for status in [301, 302, 307, 308] {
        for method in ["ListArtifacts", "GetSignedArtifactURL"] {
            double.control("faults", &moved(method, status, &elsewhere));
            let step =
                deploy.step_with("restore", &[&NO_PATHS[..], &[("pointer", &artifact)]].concat());
            step.fails(1, &[method, &status.to_string()]);
        }
        double.control("faults", &moved("CreateArtifact", status, &elsewhere));
        let job = deploy.next_job();
        job.train("weights");
        job.write("data/a.csv", "1");
        job.write("src/train.py", "1");
        let save = job.step("save");
        save.succeeds();
        assert!(
            save.log.contains("::warning::the pointer is in the store, but not in an artifact"),
            "{}",
            save.log
        );
    }
    assert_eq!(elsewhere.connections(), [] as [String; 0]);
}

#[test]
fn role_tokens_go_to_their_service_and_id_tokens_only_to_aws() {
    let (double, server, runner) = identity::job(&json!({"id-token": "write"}));
    let elsewhere = Listener::start(Manner::Refuses);
    for status in [301, 302, 307, 308] {
        for path in ["/oidc", "/sts"] {
            double.control("faults", &moved(path, status, &elsewhere));
            runner.main().fails(
                1,
                &[if path == "/oidc" {
                    "cannot get an OIDC token"
                } else {
                    "cannot assume the role"
                }],
            );
        }
    }
    assert_eq!(elsewhere.connections(), [] as [String; 0]);
    assert!(server.requests().is_empty());

    double.control("faults", &json!([]));
    runner.train("weights");
    runner.step("save").succeeds();
    for request in double.look("requests").as_array().unwrap() {
        let path = request["path"].as_str().unwrap();
        let wanted = path == "/oidc" || path.starts_with("/twirp/");
        assert_eq!(request["authorization"], json!(wanted), "{request}");
        let names_token = request["body"].as_str().unwrap_or_default().contains("WebIdentityToken");
        assert_eq!(names_token, path.starts_with("/sts"), "{request}");
    }
    for request in server.requests() {
        assert!(
            request.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "),
            "{request:?}"
        );
    }
}
