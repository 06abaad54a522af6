//! Stores that do not exist or refuse us.

use std::fs;

use super::Sandbox;
use crate::support::s3::Endpoint;

impl Sandbox {
    /// A project with a store on this server, by the endpoint's variables.
    fn on_s3(endpoint: &Endpoint, bucket: &str) -> Self {
        let mut sandbox = Self::with_store(&format!("s3://{bucket}/models"));
        sandbox.project();
        sandbox.write("models/model.bin", "weights");
        for (name, value) in endpoint.env() {
            sandbox.env(name, value);
        }
        sandbox.env("AWS_EC2_METADATA_DISABLED", "true");
        sandbox
    }

    /// Demands that these verbs all fail with this exit code and these words.
    #[track_caller]
    fn no_verb_works(&self, code: i32, needles: &[&str]) {
        for verb in ["plan", "save", "restore"] {
            self.run(verb, &[]).fails(code, needles);
        }
    }
}

/// An address without a listener: the port of the discard service, which is long out of use.
fn nobody() -> Endpoint {
    Endpoint {
        url: "http://127.0.0.1:9".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "key".to_owned(),
        secret_key: "secret".to_owned(),
    }
}

#[test]
fn a_bucket_that_does_not_exist() {
    let sandbox = Sandbox::on_s3(&Endpoint::seaweedfs(), "no-such-bucket");
    sandbox.run("plan", &[]).fails(1, &["the bucket `no-such-bucket` does not exist", "hint:"]);
    sandbox.run("save", &[]).fails(1, &["the bucket `no-such-bucket` does not exist", "hint:"]);
    sandbox.run("restore", &[]).fails(1, &["the bucket `no-such-bucket` does not exist", "hint:"]);
}

#[test]
fn credentials_that_are_not_accepted() {
    let endpoint = Endpoint::seaweedfs();
    let bucket = endpoint.fresh_bucket();
    let secret = "wrong-secret-that-must-not-be-shown";
    for wrong in [
        Endpoint { secret_key: secret.to_owned(), ..endpoint.clone() },
        Endpoint { access_key: "nobody".to_owned(), secret_key: secret.to_owned(), ..endpoint },
    ] {
        let sandbox = Sandbox::on_s3(&wrong, &bucket);
        sandbox.no_verb_works(1, &["hint:", "credentials"]);
        for verb in ["plan", "save", "restore"] {
            let run = sandbox.run(verb, &["--verbose"]);
            assert!(!run.stderr.contains(secret), "{}", run.stderr);
        }
    }
}

#[test]
fn no_credentials_at_all() {
    let mut sandbox = Sandbox::on_s3(&nobody(), "bucket");
    sandbox.env("AWS_ACCESS_KEY_ID", "");
    sandbox.env("AWS_SECRET_ACCESS_KEY", "");
    sandbox
        .run("plan", &[])
        .fails(2, &["no AWS credentials were found", "hint:", "AWS_ACCESS_KEY_ID"]);
}

#[test]
fn no_region() {
    let mut sandbox = Sandbox::with_store("s3://bucket/models");
    sandbox.project();
    sandbox.env("AWS_EC2_METADATA_DISABLED", "true");
    sandbox
        .run("plan", &[])
        .fails(2, &["the region of the bucket `bucket` is unknown", "hint:", "AWS_REGION"]);
}

#[test]
fn a_server_that_does_not_answer() {
    let sandbox = Sandbox::on_s3(&nobody(), "bucket");
    sandbox
        .run("plan", &[])
        .fails(1, &["the store cannot be reached", "hint:", "on-error: retrain"]);
}

#[test]
fn a_server_that_does_not_answer_may_mean_training() {
    let sandbox = Sandbox::on_s3(&nobody(), "bucket");
    let run = sandbox.run("plan", &["--on-error", "retrain"]);
    let plan = run.json();
    assert_eq!([&plan["retrain-needed"], &plan["cache-hit"]], [true, false]);
    assert_eq!(plan["reason"], "store-unavailable");
    assert!(plan["fingerprint"].is_string());
    assert!(
        run.stderr.contains("warning:") && run.stderr.contains("cannot be reached"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_store_that_is_a_file() {
    let sandbox = Sandbox::strict();
    fs::write(sandbox.store_dir(), "not a directory").unwrap();
    sandbox.no_verb_works(2, &["is not a directory", "hint:"]);
    let below = format!("file://{}/below", sandbox.store_dir().display());
    let run = sandbox.run("plan", &["--store", &below]);
    run.fails(1, &["Not a directory"]);
}

#[test]
fn a_store_whose_object_is_a_directory() {
    let sandbox = Sandbox::strict();
    sandbox.write("models/model.bin", "weights");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    let pointer = sandbox
        .objects("v1/trusted")
        .into_iter()
        .find(|path| path.to_string_lossy().contains("/pointers/"));
    fs::remove_file(pointer.as_ref().unwrap()).unwrap();
    fs::create_dir(pointer.unwrap()).unwrap();
    sandbox.no_verb_works(1, &["/pointers/", "it is not a regular file", "hint: remove that"]);
}

/// These values get into host names and headers. No library may panic because of them.
#[test]
fn regions_and_keys_of_any_form() {
    let endpoint = Endpoint::seaweedfs();
    let bucket = endpoint.fresh_bucket();
    for region in ["eu west", "\u{fc}ber", "a\nb", "us-east-1/x?y#z", "\u{7f}"] {
        let run = Sandbox::on_s3(&endpoint, &bucket).run("plan", &["--region", region]);
        // A server may ignore the region, so success is possible.
        assert!(matches!(run.code, 0..=2), "{region:?}: {}", run.stderr);
        assert!(run.code == 0 || run.stderr.contains("hint:"), "{region:?}: {}", run.stderr);
    }
    for key in ["key\n", "k\u{fc}", "a b", "\u{7f}"] {
        let wrong = Endpoint { access_key: key.to_owned(), ..endpoint.clone() };
        let run = Sandbox::on_s3(&wrong, &bucket).run("plan", &[]);
        assert!(matches!(run.code, 1 | 2), "{key:?}: {}", run.stderr);
        run.fails(run.code, &["hint:"]);
    }
}

#[test]
fn endpoints_of_any_form() {
    for url in ["http://127.0.0.1:99999", "http://[::1", "http://%", "http://a b", "http://\u{fc}"]
    {
        let run = Sandbox::on_s3(&nobody(), "bucket").run("plan", &["--endpoint-url", url]);
        assert!(matches!(run.code, 1 | 2), "{url:?}: {}", run.stderr);
        let advice = if run.code == 2 { "accepted:" } else { "hint:" };
        run.fails(run.code, &[advice]);
    }
}
