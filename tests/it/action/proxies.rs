//! Base URLs with a path, as on GitHub Enterprise Server, and runners behind a proxy.

use serde_json::json;

use super::artifacts::{by_run, later_job};
use super::identity;
use crate::support::listener::{Listener, Manner};

const TOKEN: &str = "ghs_canaryGithubToken6Zq4";

#[test]
fn the_path_of_the_base_url_stays() {
    let (double, mut deploy, _) = later_job(TOKEN);
    for (base, start) in [
        ("", "/repos/"),
        ("/", "/repos/"),
        ("/api/v3", "/api/v3/repos/"),
        ("/api/v3/", "/api/v3/repos/"),
    ] {
        deploy.env("GITHUB_API_URL", &format!("{}{base}", double.url));
        let before = double.look("requests").as_array().unwrap().len();
        deploy.step_with("restore", &by_run(TOKEN)).succeeds();
        let requests = double.look("requests");
        let paths: Vec<&str> = requests.as_array().unwrap()[before..]
            .iter()
            .map(|r| r["path"].as_str().unwrap())
            .collect();
        let api =
            paths.iter().filter(|path| !path.starts_with("/actions-results/")).collect::<Vec<_>>();
        assert!(
            api.len() >= 4 && api.iter().all(|path| path.starts_with(start)),
            "{base}: {paths:?}"
        );
    }
    for url in ["", "nonsense", "http://", "ftp://x"] {
        deploy.env("GITHUB_API_URL", url);
        deploy.env("HTTPS_PROXY", "http://127.0.0.1:9");
        let step = deploy.step_with("restore", &by_run(TOKEN));
        assert!(
            [1, 2].contains(&step.code) && step.log.contains("::error::"),
            "{url}: {}",
            step.log
        );
        assert!(!step.log.contains("panicked"), "{}", step.log);
    }
}

#[test]
fn everything_goes_through_the_proxy_unless_it_need_not() {
    for (variable, exceptions) in [
        ("HTTP_PROXY", ""),
        ("http_proxy", ""),
        ("http_proxy", "127.0.0.1"),
        ("HTTP_PROXY", "example.com,127.0.0.0/8"),
    ] {
        let proxy = Listener::start(Manner::Proxies);
        let (double, mut deploy, _) = later_job(TOKEN);
        deploy.env(variable, &proxy.url);
        deploy.env("NO_PROXY", exceptions);
        let seen = double.look("requests").as_array().unwrap().len();
        deploy.step_with("restore", &by_run(TOKEN)).succeeds();
        let asked = double.look("requests").as_array().unwrap().len() - seen;
        let passed: Vec<String> = proxy.connections();
        let wanted = if exceptions.is_empty() { asked } else { 0 };
        assert_eq!(passed.len(), wanted, "{variable} {exceptions}: {passed:?}");
        assert!(
            passed.iter().all(|head| head.starts_with(&format!("GET {}/", double.url))),
            "{passed:?}"
        );
    }
}

#[test]
fn roles_artifacts_and_the_store_go_through_the_proxy_too() {
    let proxy = Listener::start(Manner::Proxies);
    let (double, server, mut runner) = identity::job(&json!({"id-token": "write"}));
    runner.env("HTTP_PROXY", &proxy.url);
    runner.train("weights");
    runner.step("save").succeeds();
    let passed = proxy.connections();
    for (host, path) in [
        (&double.url, "/oidc?"),
        (&double.url, "/sts/"),
        (&double.url, "/twirp/"),
        (&double.url, "/actions-results/"),
        (&server.endpoint.url, "/models/cache/v1/blobs/"),
    ] {
        let target = format!(" {host}{path}");
        assert!(passed.iter().any(|head| head.contains(&target)), "{target} is not in {passed:?}");
    }
    let asked = double.look("requests").as_array().unwrap().len() + server.requests().len();
    assert_eq!(passed.len(), asked, "nothing went past it");
}

#[test]
fn a_tunnel_is_asked_for_and_the_proxy_sees_no_token() {
    asks_for_a_tunnel("HTTPS_PROXY");
}

#[test]
fn a_tunnel_is_asked_for_in_lower_case_too() {
    asks_for_a_tunnel("https_proxy");
}

fn asks_for_a_tunnel(variable: &str) {
    let proxy = Listener::start(Manner::Refuses);
    let (_double, mut deploy, _) = later_job(TOKEN);
    deploy.env(variable, &proxy.url);
    deploy.env("GITHUB_API_URL", "https://api.github.invalid");
    deploy.env("ACTIONS_RESULTS_URL", "https://results.github.invalid/");
    deploy.step_with("restore", &by_run(TOKEN)).fails(1, &["the GitHub API cannot be reached"]);
    let save = deploy.next_job();
    save.train("weights");
    save.write("data/a.csv", "1");
    save.write("src/train.py", "1");
    let save = save.step_with("save", &[("github-token", "")]);
    save.succeeds();
    assert!(save.log.contains("cannot reach the results service"), "{}", save.log);
    let heads = proxy.connections();
    for host in ["api.github.invalid:443", "results.github.invalid:443"] {
        assert!(
            heads.iter().any(|head| head.starts_with(&format!("CONNECT {host} "))),
            "{heads:?}"
        );
    }
    for head in &heads {
        assert!(
            head.starts_with("CONNECT ") && !head.to_lowercase().contains("authorization"),
            "{head}"
        );
    }
}
