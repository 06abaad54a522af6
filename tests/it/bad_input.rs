//! Mistakes of users, each with its exit code and a message that names the remedy.

mod credentials;
mod files;
mod links;
mod stores;

use crate::support::cli::{Run, Sandbox};

/// Demands exit code 2 and these words. `more` adds flags to the usual flags, or replaces them.
#[track_caller]
fn refused(verb: &str, more: &[&str], needles: &[&str]) {
    let sandbox = Sandbox::strict();
    let arguments = [&[verb, "--json", "--model-path", "models/"][..], more].concat();
    let mut arguments: Vec<&str> = arguments;
    if !matches!(verb, "save" | "run") {
        arguments.drain(2..4);
    }
    for (flag, value) in
        [("--model", "fraud"), ("--data-paths", "data/**"), ("--training-paths", "src/**")]
    {
        if !more.contains(&flag) {
            arguments.extend([flag, value]);
        }
    }
    let run = sandbox.raw(&arguments);
    run.fails(2, needles);
    assert!(!sandbox.store_dir().exists(), "nothing is written for bad input");
}

impl Sandbox {
    /// A project whose processes print every backtrace that they have.
    fn strict() -> Self {
        let mut sandbox = Self::with_project();
        sandbox.env("RUST_BACKTRACE", "full");
        sandbox
    }
}

#[test]
fn a_store_of_an_unknown_kind() {
    for (store, reason) in [
        ("gs://bucket/models", "the scheme `gs` is not known"),
        ("https://bucket.s3.amazonaws.com", "the scheme `https` is not known"),
        ("models", "it has no scheme"),
        ("/var/models", "it has no scheme"),
        ("file://", "three slashes"),
        ("file://store", "three slashes"),
        ("s3://", "a bucket name must have"),
        ("s3://My_Bucket/x", "a bucket name must have"),
        ("s3://bucket/../other", "must not contain"),
        ("s3://bucket/a//b", "must not contain"),
    ] {
        refused(
            "plan",
            &["--store", store],
            &["`store`", store, reason, "`s3://bucket/prefix` or `file:///directory`"],
        );
    }
}

#[test]
fn a_model_without_a_usable_name() {
    let long = "m".repeat(101);
    for (name, reason) in [
        ("fraud/detector", "must not contain `/`"),
        ("..", "must not consist of dots alone"),
        ("a\nb", "control characters"),
        (&long, "at most 100 bytes"),
    ] {
        refused("plan", &["--model", name], &["`model`", reason]);
    }
    for name in ["", "  "] {
        refused("plan", &["--model", name], &["`model`", "it is required"]);
    }
    let sandbox = Sandbox::strict();
    sandbox.raw(["plan", "--data-paths", "data/**"]).fails(2, &["`model`", "it is required"]);
}

#[test]
fn a_namespace_of_another_form() {
    for name in ["org", "org/repo/more", "/repo", "org/", "../repo"] {
        refused("plan", &["--namespace", name], &["`namespace`", "`owner/name`"]);
    }
}

#[test]
fn patterns_that_leave_the_workspace_or_are_none() {
    for pattern in ["../data/**", "data/../../x", "/etc/passwd", "~/data", "data/[z-a]", "!"] {
        refused("plan", &["--data-paths", pattern], &["`data-paths`", pattern]);
        refused("plan", &["--training-paths", pattern], &["`training-paths`", pattern]);
        refused(
            "save",
            &["--model-path", pattern, "--model-path", "models"],
            &["`model-path`", pattern],
        );
    }
}

#[test]
fn nothing_to_decide_by() {
    for verb in ["plan", "save"] {
        for (data, training) in
            [("", ""), ("\n  \n# a comment", "\n"), ("!data/raw", "!src/x"), ("", "!src/**")]
        {
            let patterns = ["--data-paths", data, "--training-paths", training];
            refused(verb, &patterns, &["`data-paths`", "a fingerprint needs something to hash"]);
        }
    }
}

#[test]
fn nothing_to_save() {
    let sandbox = Sandbox::strict();
    for model_path in ["", "!models", "# models"] {
        let mut arguments = Sandbox::arguments("save", &[]);
        *arguments.last_mut().unwrap() = model_path.to_owned();
        sandbox.raw(&arguments).fails(2, &["`model-path`", "it includes nothing"]);
    }
}

#[test]
fn words_and_numbers_that_are_not_understood() {
    for (flag, value, needle) in [
        ("max-age", "soon", "durations such as `30d`"),
        ("max-age", "-1d", "not a positive duration"),
        ("max-age", "0s", "not a positive duration"),
        ("on-error", "ignore", "`fail`, `retrain`"),
        ("if-no-files-found", "maybe", "`error`, `warn`, `ignore`"),
        ("force-path-style", "yes", "`true` or `false`"),
        ("endpoint-url", "ftp://host", "not a base URL"),
        ("sse", "aes", "not an accepted value"),
        ("sse-kms-key-id", "alias/models", "`sse` does not ask for a key"),
        ("endpoint-url", "localhost:8333", "not a base URL"),
        ("extra-key", "torch", "lines of the form `name=value`"),
        ("extra-key", "=2.4", "lines of the form `name=value`"),
        ("extra-key", "a=1\na=2", "the name appears twice"),
    ] {
        let flag_name = format!("--{flag}");
        refused("plan", &[&flag_name, value], &[&format!("`{flag}`"), needle]);
    }
    refused("save", &["--fingerprint", "abc"], &["`fingerprint`", "64 lower-case hex digits"]);
    refused(
        "run",
        &["--destination", "a/../../b", "--", "true"],
        &["`destination`", "`..` is not allowed"],
    );
}

#[test]
fn an_endpoint_that_contains_the_bucket() {
    let sandbox = Sandbox::with_store("s3://bucket/x");
    sandbox.project();
    for endpoint in ["https://bucket.s3.eu-central-1.amazonaws.com", "https://host:9000/bucket"] {
        let plan = sandbox.run("plan", &["--endpoint-url", endpoint]);
        plan.fails(2, &["`endpoint-url`", "contains the bucket", "the address of the service"]);
    }
}

#[test]
fn booleans_of_the_command_line() {
    for bad in ["--force-retrain=maybe", "--fail-on-miss=1"] {
        let name = bad.split('=').next().unwrap().trim_start_matches('-');
        Sandbox::strict().run("plan", &[bad]).fails(2, &[&format!("input `{name}`")]);
    }
    // The action accepts the same words, and takes an empty value for its default.
    for (good, reason) in [
        ("--force-retrain=True", "forced"),
        ("--force-retrain=FALSE", "no-model"),
        ("--force-retrain=", "no-model"),
        ("--force-retrain", "forced"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.project();
        assert_eq!(sandbox.run("plan", &[good]).json()["reason"], reason, "{good}");
    }
}

#[test]
fn a_workspace_that_is_no_directory() {
    let missing = ["--workspace", "no/such/place"];
    refused("plan", &missing, &["`workspace`", "no/such/place", "it is not a directory"]);
    refused(
        "plan",
        &["--workspace", "data/a.csv"],
        &["`workspace`", "data/a.csv", "it is not a directory"],
    );
}

#[test]
fn every_fault_is_in_one_message() {
    let sandbox = Sandbox::strict();
    let run = sandbox.raw([
        "save",
        "--json",
        "--store",
        "gs://x",
        "--model",
        "a/b",
        "--namespace",
        "org",
        "--data-paths",
        "../a\n../b",
        "--model-path",
        "",
        "--max-age",
        "soon",
        "--extra-key",
        "torch",
    ]);
    let inputs = [
        "`store`",
        "`model`",
        "`namespace`",
        "`../a`",
        "`../b`",
        "`model-path`",
        "`max-age`",
        "`extra-key`",
    ];
    run.fails(2, &inputs);
    assert_eq!(run.stderr.matches("error:").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("inputs cannot be used:"), "{}", run.stderr);
}

#[test]
fn a_value_of_somebody_elses_making_cannot_draw_on_the_terminal() {
    let run = Sandbox::strict().raw([
        "plan",
        "--model",
        "\u{1b}[31m/x\n::error::y",
        "--data-paths",
        "data/**",
    ]);
    run.fails(2, &["\\u{1b}[31m/x"]);
    assert!(!run.stderr.contains('\u{1b}'));
    assert!(run.stderr.lines().all(|line| !line.trim_start().starts_with("::")), "{}", run.stderr);
}

#[test]
fn what_was_typed_gives_no_commands() {
    let trick = "no\n::set-output \
                 name=retrain-needed::false\r::error::x\u{1b}[2J\u{202e}##[set-output name=x]y";
    let forced = format!("--force-retrain={trick}");
    let flag = format!("--{trick}");
    for arguments in
        [&["plan", &forced][..], &["plan", &flag], &[trick], &["plan", "--model", "m", trick]]
    {
        let run = Sandbox::strict().raw(arguments);
        run.fails(2, &["error: "]);
        assert!(
            run.stderr.lines().all(|line| !line.trim_start().starts_with("::")),
            "{}",
            run.stderr
        );
        for bad in ["##[", "\r", "\u{1b}", "\u{202e}"] {
            assert!(!run.stderr.contains(bad), "{bad:?} is in {:?}", run.stderr);
        }
    }
}

#[test]
fn names_in_the_json_are_no_commands() {
    let sandbox = Sandbox::with_project();
    let names = ["data/##[set-output name=retrain-needed]false", "data/n\u{202e}\u{7f}\u{e0041}"];
    names.iter().for_each(|name| sandbox.write(name, "1"));
    sandbox.write("models/model.bin", "weights");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    names.iter().for_each(|name| sandbox.write(name, "2"));
    let plan = sandbox.run("plan", &[]);
    for bad in ["##[", "\u{202e}", "\u{7f}", "\u{e0041}"] {
        assert!(!plan.stdout.contains(bad), "{}", plan.stdout);
    }
    let changes = plan.json()["changes"].as_array().unwrap().clone();
    let changed: Vec<&str> =
        changes.iter().map(|change| change["path"].as_str().unwrap()).collect();
    assert_eq!(changed, names);
}

fn prints(arguments: &[&str]) -> Run {
    let run = Sandbox::strict().raw(arguments);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    run
}

#[test]
fn help_and_version_are_printed() {
    assert_eq!(prints(&["--version"]).stdout, format!("ml-cache {}\n", env!("CARGO_PKG_VERSION")));
    let help = prints(&["--help"]).stdout;
    for verb in ["plan", "restore", "save", "run", "verify"] {
        assert!(help.contains(verb), "{help}");
        let help = prints(&[verb, "--help"]).stdout;
        assert!(
            help.contains("--model") && help.contains("--store") && help.contains("--json"),
            "{help}"
        );
    }
    assert!(help.contains("Exit codes:"), "{help}");
    let help = prints(&["resolve", "--help"]).stdout;
    assert!(help.contains("$GITHUB_TOKEN or $GH_TOKEN"), "{help}");
}

#[test]
fn command_lines_that_make_no_sense() {
    for (arguments, needle) in [
        (&["plan", "--mood", "x"][..], "--mood"),
        (&["fly"], "fly"),
        (&["plan", "extra"], "extra"),
        (&["resolve", "--model-path", "models"], "--model-path"),
        (&["plan", "--model"], "--model"),
        (&["run", "--model", "fraud"], "COMMAND"),
        (&[], "Usage:"),
    ] {
        Sandbox::strict().raw(arguments).fails(2, &[needle]);
    }
}
