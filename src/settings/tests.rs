//! The inputs that the settings accept, and the messages about all others.

use std::path::Path;

use super::*;
use crate::environment::Environment;
use crate::error::Result;
use crate::workflow::RunContext;

fn raw(values: &[(&str, &str)]) -> RawInputs {
    let mut raw = RawInputs::default();
    for (name, value) in values {
        raw.set(name, *value);
    }
    raw
}

fn check(verb: Verb, values: &[(&str, &str)]) -> Result<Settings> {
    let environment: Environment = [("HOME", "/home/me")].into_iter().collect();
    resolve(verb, &raw(values), &environment, None, Path::new("/tmp"))
}

const GOOD: &[(&str, &str)] =
    &[("model", "m"), ("data-paths", "data/**"), ("model-path", "models/")];

#[test]
fn little_is_needed() {
    let settings = check(Verb::Run, GOOD).unwrap();
    assert_eq!(settings.store.to_string(), "file:///home/me/.cache/ml-cache");
    assert_eq!(settings.namespace.to_string(), "local/tmp");
    assert_eq!(settings.destination, Path::new("/tmp"));
    assert!(!settings.force.input && !settings.promote && !settings.fail_on_miss);
    assert!(check(Verb::Restore, &[("model", "m")]).unwrap().fail_on_miss);
}

#[test]
fn empty_strings_are_defaults() {
    let mut values = GOOD.to_vec();
    values.extend([
        ("force-retrain", ""),
        ("max-age", " "),
        ("on-error", ""),
        ("fingerprint", ""),
        ("store", ""),
    ]);
    assert_eq!(check(Verb::Run, &values).unwrap().max_age, None);
}

#[test]
fn durations_and_booleans_are_read() {
    let mut values = GOOD.to_vec();
    values.extend([("force-retrain", "True"), ("max-age", "1w 2d")]);
    let settings = check(Verb::Plan, &values).unwrap();
    assert!(settings.force.input);
    assert_eq!(settings.max_age, Some(SignedDuration::from_hours(9 * 24)));
}

#[test]
fn an_artifact_is_kept_for_a_number_of_days_that_github_has() {
    for (days, accepted) in [
        ("1", true),
        ("400", true),
        ("0", false),
        ("401", false),
        ("-1", false),
        ("7d", false),
        ("18446744073709551615", false),
    ] {
        let values = [GOOD, &[("artifact-retention-days", days)]].concat();
        assert_eq!(check(Verb::Run, &values).is_ok(), accepted, "{days}");
    }
}

#[test]
fn every_fault_is_in_one_message() {
    let error = check(
        Verb::Run,
        &[
            ("store", "gs://bucket"),
            ("data-paths", "../secret\n!"),
            ("model-path", ""),
            ("force-retrain", "yes"),
            ("max-age", "soon"),
            ("on-error", "explode"),
            ("namespace", "just-one"),
            ("extra-key", "a=1\na=2\nnothing"),
            ("endpoint-url", "ftp://x"),
            ("destination", "../up"),
            ("artifact-retention-days", "99999999"),
        ],
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    for needle in [
        "input `store`: `gs://bucket`: the scheme `gs` is not known; accepted: \
         `s3://bucket/prefix` or `file:///directory`",
        "input `data-paths`: `../secret`: `..` is not allowed",
        "input `data-paths`: `!`: it is empty",
        "input `model-path`: ``: it includes nothing",
        "input `model`: ``: it is required",
        "input `force-retrain`: `yes`",
        "input `max-age`: `soon`",
        "input `on-error`: `explode`: it is not an accepted value; accepted: `fail`, `retrain`",
        "input `namespace`: `just-one`",
        "input `extra-key`: `a`: the name appears twice",
        "input `extra-key`: `nothing`",
        "input `endpoint-url`: `ftp://x`",
        "input `destination`: `../up`",
        "input `artifact-retention-days`: `99999999`: it must be 1 to 400 days; accepted: a number \
         of days, 1 to 400",
    ] {
        assert!(text.contains(needle), "{needle}\nin\n{text}");
    }
}

#[test]
fn in_github_actions_a_store_must_be_named() {
    let run = RunContext { repository: "org/repo".into(), ..RunContext::default() };
    let error =
        resolve(Verb::Run, &raw(GOOD), &Environment::default(), Some(&run), Path::new("/tmp"))
            .unwrap_err();
    assert!(error.to_string().contains("it is required in GitHub Actions"), "{error}");
    let environment: Environment = [("ML_CACHE_STORE", "s3://bucket/x")].into_iter().collect();
    let settings =
        resolve(Verb::Run, &raw(GOOD), &environment, Some(&run), Path::new("/tmp")).unwrap();
    assert_eq!(settings.namespace.to_string(), "org/repo");
    assert_eq!(settings.store.to_string(), "s3://bucket/x");
}

#[test]
fn credentials_in_a_url_are_not_shown() {
    let mut values = GOOD.to_vec();
    values.extend([
        ("store", "s3://KEY:hunter2@bucket"),
        ("endpoint-url", "https://user:hunter2@host"),
    ]);
    let error = check(Verb::Run, &values).unwrap_err();
    assert!(
        error.to_string().contains("s3://***@bucket") && !error.to_string().contains("hunter2"),
        "{error}"
    );
    for (name, value) in [
        ("endpoint-url", "user:hunter2@host:9000"),
        ("endpoint-url", "//user:hunter2@host"),
        ("endpoint-url", "http:/user:hunter2@host"),
        ("endpoint-url", "http://user%3Ahunter2%40host"),
        ("endpoint-url", "https://host/?token=hunter2"),
        ("endpoint-url", "https://host#hunter2"),
        ("store", "user:hunter2@bucket"),
        ("store", "user:hunter2@s3://bucket"),
        ("store", "https://host/bucket?token=hunter2"),
        ("pointer", "http://user:hunter2@host/pointer.json"),
        ("pointer", "https:/user:hunter2@host/pointer.json"),
        ("namespace", "https://user:hunter2@host/owner/name"),
        ("data-paths", "../x\n/https://user:hunter2@host/owner/name"),
    ] {
        let error = check(Verb::Run, &[GOOD, &[(name, value)]].concat()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{name}`")) && !error.contains("hunter2"),
            "{value}: {error}"
        );
    }
}

#[test]
fn keys_that_nobody_could_send_matter_only_where_they_are_used() {
    let role =
        [("role-to-assume", "arn:aws:iam::123456789012:role/trainer"), ("region", "eu-central-1")];
    for (variable, with_role, accepted) in [
        ("AWS_ACCESS_KEY_ID", false, false),
        ("AWS_SECRET_ACCESS_KEY", false, false),
        ("AWS_SESSION_TOKEN", false, false),
        ("AWS_REGION", false, false),
        ("AWS_ACCESS_KEY_ID", true, true),
        ("AWS_SECRET_ACCESS_KEY", true, true),
        ("AWS_SESSION_TOKEN", true, true),
        ("AWS_REGION", true, true),
    ] {
        let environment: Environment = [
            (variable, "with a line end\n"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://oidc.example/?x"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "token"),
        ]
        .into_iter()
        .collect();
        let mut values = [GOOD, &[("store", "s3://bucket/x")]].concat();
        if with_role {
            values.extend(role);
        }
        let settings = resolve(Verb::Run, &raw(&values), &environment, None, Path::new("/tmp"));
        assert_eq!(settings.is_ok(), accepted, "{variable} {with_role}: {settings:?}");
    }
}

#[test]
fn nothing_to_decide_by_is_said_once() {
    let error = check(Verb::Plan, &[("model", "m"), ("data-paths", "!a")]).unwrap_err();
    assert!(error.to_string().contains("a fingerprint needs something to hash"), "{error}");
    let error = check(Verb::Plan, &[("model", "m"), ("data-paths", "../a")]).unwrap_err();
    assert!(!error.to_string().contains("a fingerprint needs something to hash"), "{error}");
}

#[test]
fn an_omitted_role_is_told_from_an_empty_role() {
    use crate::store::{Credentials, Lack};
    let sources = |values: &[(&str, &str)], variables: &[(&'static str, &'static str)]| {
        let all = [GOOD, &[("store", "s3://bucket")], values].concat();
        let environment: Environment = variables.iter().copied().collect();
        resolve(Verb::Plan, &raw(&all), &environment, None, Path::new("/tmp"))
            .map(|settings| settings.s3.credentials)
            .map_err(|error| error.to_string())
    };
    const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let empty = ("role-to-assume", " ");
    for (values, variables, wanted) in [
        (&[][..], &[][..], Credentials::Usual),
        (&[("role-to-assume", "omitted")], &[], Credentials::Usual),
        (&[empty], &[], Credentials::Missing(Lack::EmptyRole)),
        (&[empty], KEYS, Credentials::Keys),
        (&[empty, ("credentials", "")], &[], Credentials::Missing(Lack::EmptyRole)),
        (&[empty, ("credentials", "ambient")], &[], Credentials::Usual),
        (&[empty, ("credentials", "none")], KEYS, Credentials::Unsigned),
        (&[], &KEYS[..1], Credentials::Missing(Lack::HalfKey("AWS_SECRET_ACCESS_KEY"))),
        (&[empty], &KEYS[1..], Credentials::Missing(Lack::HalfKey("AWS_ACCESS_KEY_ID"))),
        (&[("credentials", "ambient")], &KEYS[..1], Credentials::Usual),
        (&[], &[("AWS_PROFILE", "dev")], Credentials::Usual),
        (&[("credentials", "ambient")], &[("AWS_PROFILE", "")], Credentials::Usual),
        (&[("credentials", "none")], &[("AWS_PROFILE", "")], Credentials::Unsigned),
        // Keys that do not expire have no token.
        (&[], &[KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "")], Credentials::Keys),
        (&[empty, ("store", "file:///x")], &[], Credentials::Usual),
    ] {
        assert_eq!(sources(values, variables), Ok(wanted), "{values:?} {variables:?}");
    }
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ] {
        let wanted = Ok(Credentials::Missing(Lack::EmptyVariable(name)));
        assert_eq!(sources(&[], &[(name, "")]), wanted);
        assert_eq!(sources(&[("store", "file:///x")], &[(name, "")]), Ok(Credentials::Usual));
    }
    assert!(sources(&[("credentials", "machine")], &[]).unwrap_err().contains("`credentials`"));
}

#[test]
fn a_name_of_an_adopted_pointer_is_given_to_no_save() {
    let name = ("artifact-name", "ckpt-adopted-1-0badcafe");
    for (verb, name, is_good) in [
        (Verb::Save, name, false),
        (Verb::Auto, ("artifact-name", "ckpt-adopted"), false),
        (Verb::Save, ("artifact-name", "ckpt-adopted-pets"), true),
        // The output of a save may be such a name.
        (Verb::Restore, name, true),
        (Verb::Resolve, name, true),
    ] {
        let found = check(verb, &[GOOD, &[name]].concat());
        assert_eq!(found.is_ok(), is_good, "{name:?}: {found:?}");
    }
}

#[test]
fn the_role_of_the_scope_is_assumed() {
    use crate::workflow::PullRequest;
    const FILE: &str = "store: s3://bucket\nregion: eu-central-1\nroles:\n  \
                        trusted: arn:aws:iam::1:role/trusted\n  \
                        untrusted: arn:aws:iam::1:role/untrusted\n  \
                        deploy: arn:aws:iam::1:role/deploy\n";
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join(".git")).unwrap();
    std::fs::write(place.path().join(".git/HEAD"), "a".repeat(40)).unwrap();
    let write = |text: &str| std::fs::write(place.path().join("ml-cache.yml"), text).unwrap();
    write(FILE);
    let run = |event: &str, git_ref: &str| RunContext {
        repository: "org/repo".into(),
        event: event.into(),
        git_ref: git_ref.into(),
        sha: "a".repeat(40),
        default_branch: Some("main".into()),
        ..RunContext::default()
    };
    let role = |verb, run: Option<&RunContext>, values: &[(&str, &str)]| {
        let all = [GOOD, values].concat();
        let settings = resolve(verb, &raw(&all), &Environment::default(), run, place.path());
        settings.unwrap().role.map(|role| role.name().to_owned())
    };
    let (main, branch) = (run("push", "refs/heads/main"), run("push", "refs/heads/x"));
    let tag = run("release", "refs/tags/v1");
    let request = RunContext {
        pull_request: Some(PullRequest { number: 7, same_repository: true, ..Default::default() }),
        ..run("pull_request", "refs/pull/7/merge")
    };
    for (verb, run, wanted) in [
        (Verb::Plan, &main, "trusted"),
        (Verb::Save, &main, "trusted"),
        (Verb::Restore, &main, "deploy"),
        (Verb::Resolve, &tag, "deploy"),
        (Verb::Plan, &tag, "untrusted"),
        (Verb::Auto, &branch, "untrusted"),
        (Verb::Restore, &branch, "untrusted"),
        (Verb::Restore, &request, "untrusted"),
    ] {
        assert_eq!(role(verb, Some(run), &[]).as_deref(), Some(wanted), "{verb:?} {run:?}");
    }
    let own = [("role-to-assume", "arn:aws:iam::1:role/own")];
    assert_eq!(role(Verb::Plan, Some(&main), &own).as_deref(), Some("own"));
    let omitted = [("role-to-assume", "omitted")];
    assert_eq!(role(Verb::Plan, Some(&main), &omitted).as_deref(), Some("trusted"));
    for values in
        [[("role-to-assume", "")], [("credentials", "ambient")], [("credentials", "none")]]
    {
        assert_eq!(role(Verb::Plan, Some(&main), &values), None, "{values:?}");
    }
    assert_eq!(role(Verb::Plan, None, &[]), None, "a laptop has no token for a role");
    let refs = format!("{FILE}trusted-refs: x\n");
    write(&refs);
    assert_eq!(role(Verb::Plan, Some(&branch), &[]).as_deref(), Some("trusted"));
    let lines: Vec<&str> = FILE.lines().collect();
    write(&lines[..5].join("\n"));
    assert_eq!(role(Verb::Restore, Some(&main), &[]).as_deref(), Some("trusted"));
}

#[test]
fn another_repository_s_model_is_no_model_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = "store: file:///x\nnamespace: own/shared\nmodels:\n  m: { path: weights/ }\n";
    std::fs::write(place.path().join("ml-cache.yml"), file).unwrap();
    let resolve = |values: &[(&str, &str)]| {
        let settings =
            resolve(Verb::Restore, &raw(values), &Environment::default(), None, place.path());
        let settings = settings.unwrap();
        (settings.namespace.to_string(), settings.model_path.has_includes())
    };
    assert_eq!(resolve(&[("model", "m")]), ("own/shared".to_owned(), true));
    for model in ["m", "theirs"] {
        let theirs = resolve(&[("model", model), ("repository", "acme/theirs")]);
        assert_eq!(theirs, ("acme/theirs".to_owned(), false), "{model}");
    }
}
