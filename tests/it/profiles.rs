//! Credentials as on a laptop: profiles of the AWS configuration, each with a real file or process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::cli::{Run, Sandbox};
use crate::support::listener::{Listener, Manner};
use crate::support::s3::Server;

const LATER: &str = "2099-01-01T00:00:00Z";
const SSO: &str = "[profile dev]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Dev
[sso-session corp]
sso_region = us-east-1
sso_start_url = https://corp.awsapps.com/start
";
const LOGIN: &str = "arn:aws:sts::123456789012:assumed-role/dev/me";

/// A workspace and a server, without any credentials in the environment.
struct Laptop {
    server: Server,
    sandbox: Sandbox,
}

impl Laptop {
    fn new() -> Self {
        let server = Server::start();
        let mut sandbox = Sandbox::with_store("s3://models/prefix");
        sandbox.project();
        for (name, value) in [
            ("AWS_ENDPOINT_URL", server.endpoint.url.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            sandbox.env(name, value);
        }
        Self { server, sandbox }
    }

    /// Writes a file below the home directory.
    fn home(&self, name: &str, content: &str) {
        let path = self.sandbox.store_dir().parent().unwrap().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Plans with a profile of the configuration.
    fn plan(&mut self, profile: &str, config: &str) -> Run {
        self.home(".aws/config", config);
        self.sandbox.env("AWS_PROFILE", profile);
        self.sandbox.run("plan", &[])
    }

    /// Plans, and demands a request with these credentials.
    #[track_caller]
    fn plans(&mut self, profile: &str, config: &str) {
        let run = self.plan(profile, config);
        assert_eq!(run.json()["reason"], "no-model", "{}", run.stderr);
        assert!(run.stderr.contains("a profile of the AWS configuration"), "{}", run.stderr);
        assert!(!run.stderr.contains(&self.server.endpoint.secret_key));
    }

    /// Plans, and demands an error before any request.
    #[track_caller]
    fn fails(&mut self, profile: &str, config: &str, needles: &[&str]) {
        self.plan(profile, config).fails(1, needles);
        assert!(self.server.requests().is_empty());
    }

    fn keys(&self, expires: &str) -> serde_json::Value {
        let endpoint = &self.server.endpoint;
        json!({
            "Version": 1,
            "AccessKeyId": endpoint.access_key,
            "SecretAccessKey": endpoint.secret_key,
            "Expiration": expires,
        })
    }

    fn script(&self, text: &str) -> String {
        self.sandbox.write("credentials.sh", format!("#!/bin/sh\n{text}\n"));
        let path = self.sandbox.path("credentials.sh");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("[profile dev]\ncredential_process = {}\n", path.display())
    }

    /// Writes what `aws sso login` leaves behind.
    fn session(&self, expires: &str) {
        let token = json!({"accessToken": "4711", "expiresAt": expires});
        // The SHA-1 of `corp`.
        let name = "ee0bfd2552fbd840c02cc48b6e823320543c450f";
        self.home(&format!(".aws/sso/cache/{name}.json"), &token.to_string());
    }

    /// Writes what `aws login` leaves behind.
    fn login(&self, expires: &str) -> String {
        let endpoint = &self.server.endpoint;
        let token = json!({
            "accessToken": {
                "accessKeyId": endpoint.access_key,
                "secretAccessKey": endpoint.secret_key,
                "sessionToken": "",
                "accountId": "123456789012",
                "expiresAt": expires,
            },
            "tokenType": "aws_sigv4",
            "refreshToken": "refresh",
            "idToken": "identity",
            "clientId": "arn:aws:signin:::devtools/same-device",
            "dpopKey": "-----BEGIN EC PRIVATE KEY-----\ntest\n-----END EC PRIVATE KEY-----\n",
        });
        let name = hex::encode(Sha256::digest(LOGIN));
        self.home(&format!(".aws/login/cache/{name}.json"), &token.to_string());
        format!("[profile dev]\nlogin_session = {LOGIN}\n")
    }
}

#[test]
fn a_process_gives_credentials() {
    let mut laptop = Laptop::new();
    let config = laptop.script(&format!("echo '{}'", laptop.keys(LATER)));
    laptop.plans("dev", &config);
}

#[test]
fn a_failing_process_is_named_and_its_output_is_not_shown() {
    for (script, cause) in [
        ("echo 'token 4711' >&2; exit 3", "exit status: 3"),
        ("echo '4711 is no JSON'", "invalid JSON"),
        ("echo '{\"Version\": 1, \"Secret\": \"4711\"}'", "AccessKeyId"),
    ] {
        let mut laptop = Laptop::new();
        let config = laptop.script(script);
        laptop.fails("dev", &config, &["the AWS profile `dev`", cause, "`credential_process`"]);
        assert!(!laptop.plan("dev", &config).stderr.contains("4711"));
    }
}

#[test]
fn a_login_gives_credentials_until_it_expires() {
    let mut laptop = Laptop::new();
    let config = laptop.login(LATER);
    laptop.plans("dev", &config);
    let mut late = Laptop::new();
    let config = late.login("2020-01-01T00:00:00Z");
    late.fails("dev", &config, &["the AWS profile `dev`", "`aws login --profile dev`"]);
    let mut never = Laptop::new();
    let config = format!("[profile dev]\nlogin_session = {LOGIN}\n");
    never.fails("dev", &config, &["the AWS profile `dev`", "`aws login --profile dev`"]);
}

#[test]
fn an_sso_session_gives_credentials() {
    let mut laptop = Laptop::new();
    let endpoint = &laptop.server.endpoint;
    let role = json!({"roleCredentials": {
        "accessKeyId": endpoint.access_key,
        "secretAccessKey": endpoint.secret_key,
        "sessionToken": "",
        "expiration": 4_070_908_800_000_u64,
    }});
    let portal = Listener::start(Manner::Answers(role.to_string().leak()));
    laptop.sandbox.env("AWS_ENDPOINT_URL_SSO", portal.url.as_str());
    laptop.session(LATER);
    laptop.plans("dev", SSO);
    let [asked] = portal.connections().try_into().unwrap();
    assert!(asked.starts_with("GET /federation/credentials?"), "{asked}");
    assert!(asked.contains("role_name=Dev") && asked.contains("4711"), "{asked}");
}

#[test]
fn an_sso_session_that_is_missing_or_over_is_told() {
    let remedy = "`aws sso login --profile dev`";
    let mut laptop = Laptop::new();
    laptop.fails("dev", SSO, &["cached SSO token", remedy]);
    laptop.session("2020-01-01T00:00:00Z");
    laptop.fails("dev", SSO, &["expired", remedy]);
}

#[test]
fn a_profile_that_is_not_defined_is_named_with_those_that_are() {
    let mut laptop = Laptop::new();
    let config = "[profile staging]\nregion = x\n[profile production]\nregion = y\n";
    laptop.fails("stagging", config, &["`stagging`", "`production`, `staging`", "AWS_PROFILE"]);
    laptop.fails("dev", "", &["`dev`", "no profiles here", "AWS_CONFIG_FILE"]);
}

#[test]
fn a_faulty_profile_is_told_with_its_fault() {
    for (config, cause) in [
        ("[profile dev\nregion = x\n", "line 1"),
        ("[profile dev]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = gone\n", "`gone`"),
        ("[profile dev]\naws_access_key_id = AKIA\n", "aws_secret_access_key"),
        ("[profile dev]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = Dev\n", "`corp`"),
    ] {
        Laptop::new().fails("dev", config, &[cause, "hint:"]);
    }
}

#[test]
fn a_profile_without_keys_leaves_the_other_sources() {
    let mut laptop = Laptop::new();
    let (key, secret) =
        (laptop.server.endpoint.access_key.clone(), laptop.server.endpoint.secret_key.clone());
    laptop.sandbox.env("AWS_ACCESS_KEY_ID", key);
    laptop.sandbox.env("AWS_SECRET_ACCESS_KEY", secret);
    let run = laptop.plan("dev", "[profile dev]\nregion = us-east-1\n");
    assert_eq!(run.json()["reason"], "no-model", "{}", run.stderr);
    let mut bare = Laptop::new();
    bare.plan("dev", "[profile dev]\nregion = us-east-1\n").fails(1, &["no AWS credentials"]);
}
