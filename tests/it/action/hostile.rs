//! Names that try to be workflow commands, outputs or Markdown.
//!
//! [`super::protocol`] checks every log and every file command of every step.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use ml_cache::format::Digest;
use serde_json::{Value, json};

use super::runner::{Runner, State, Step};

/// File names by which somebody may try to print a command or set an output.
pub(super) const NAMES: &[&str] = &[
    "::set-output name=retrain-needed::false",
    " ::error::indented",
    "a\n::set-output name=saved::true",
    "a\r::warning::carriage return",
    "x ##[set-output name=cache-hit]true",
    "##[add-mask]true",
    "EOF",
    "ghadelimiter_00000000000000000000000000000000",
    "reason<<EOF\nhit\nEOF",
    "retrain-needed=false",
    "100%25%0A::error::decoded",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{202e}gpj.exe",
    "\u{2028}::error::line separator",
    "\u{85}::error::next line",
    "| a | b |",
    "<img src=x onerror=alert(1)>",
    "[link](http:evil.example) **bold** `code` @acme",
    "</details>",
    "www.evil.example",
    "a@evil.example GH-12 0123456789abcdef0123456789abcdef01234567",
    "xmpp:a@evil.example mailto:a@evil.example",
    "::stop-commands::x",
    "#!comment",
    "tab\there",
    "a\nhint: trust this line",
];

impl Runner {
    /// Writes a file of each hostile name into a directory, with this content.
    fn hostile_files(&self, directory: &str, content: &str) {
        for (n, name) in NAMES.iter().enumerate() {
            self.write(
                &format!("{directory}/{}", name.replace('/', "_")),
                &format!("{content} {n}"),
            );
        }
    }
}

/// Demands that every line of the summary has one of our forms.
#[track_caller]
pub(super) fn summary_is_tables(step: &Step) {
    assert_eq!(step.summary.matches("\n| :--- | :--- |\n").count(), 1, "{}", step.summary);
    for (n, line) in step.summary.split(['\n', '\r', '\u{2028}', '\u{85}']).enumerate() {
        let is_row = || line.starts_with("| ") && line.ends_with(" |");
        let line = line.replace("<details open>", "<details>");
        let fold = line.starts_with("<details><summary>") && line.ends_with("</summary>")
            || line == "</details>";
        let fine =
            if n == 0 { line.starts_with("### ") } else { line.is_empty() || is_row() || fold };
        assert!(fine, "{line:?} in\n{}", step.summary);
        let ours = ["<details><summary>", "</summary>", "</details>", "<code>", "</code>"];
        let inside = ours.iter().fold(line.clone(), |inside, tag| inside.replace(tag, ""));
        for markup in ["<", "](", "`", "@", "://", "www."] {
            assert!(!inside.contains(markup), "{markup} in {line:?}");
        }
        // GitHub decodes `&#64;` before it looks for addresses, so a zero-width space must follow.
        assert_eq!(
            inside.matches("&#64;").count(),
            inside.matches("&#64;\u{200b}").count(),
            "{line:?}"
        );
        if is_row() {
            assert!([3, 4].contains(&line.matches('|').count()), "{line:?}");
        }
    }
}

#[test]
fn hostile_names_of_data_stay_names() {
    let mut runner = Runner::trained().next_job();
    runner.hostile_files("data", "one");
    for debug in ["", "1"] {
        runner.env("RUNNER_DEBUG", debug);
        let main = runner.main();
        main.succeeds();
        let wanted = ["true", "data-changed", &NAMES.len().to_string(), "false"];
        assert_eq!(main.pick(["retrain-needed", "reason", "changed-count", "saved"]), wanted);
        assert_eq!(main.state.keys().collect::<Vec<_>>(), ["plan", "settings"]);
        summary_is_tables(&main);
        assert!(main.summary.contains("details"), "the names are listed");
    }
}

#[test]
fn hostile_names_in_messages_stay_names() {
    let runner = Runner::new();
    runner.hostile_files("data", "one");
    let main = runner.main();
    runner.train("weights");
    runner.hostile_files("data", "two");
    let post = runner.post(&main);
    post.fails(1, &["data modified: ", "nothing was saved", "data/a\\nhint: trust this line"]);
    assert!(!post.log.lines().any(|line| line.starts_with("hint: trust")), "{}", post.log);
    assert!(post.outputs.is_empty());

    for (n, name) in NAMES.iter().enumerate() {
        let runner = Runner::new();
        symlink("nowhere", runner.path("data").join(name.replace('/', "_"))).unwrap();
        let step = runner.step("plan");
        step.fails(2, &["is broken"]);
        assert_eq!(step.output("retrain-needed"), "true", "{n}");
        step.has_all_outputs();
    }
}

#[test]
fn hostile_names_in_a_model_come_back() {
    let runner = Runner::new();
    let main = runner.main();
    runner.hostile_files("models", "weights");
    runner.write("models/Case", "1");
    runner.write("models/case", "2");
    let post = runner.post(&main);
    post.succeeds();
    assert!(post.log.contains("differ only in case"), "{}", post.log);
    summary_is_tables(&post);
    let wanted = crate::support::cli::snapshot(&runner.path("models"));
    let next = runner.next_job();
    next.main().succeeds();
    assert_eq!(crate::support::cli::snapshot(&next.path("models")), wanted);
}

#[test]
fn hostile_links_in_a_model_stay_names() {
    for name in NAMES {
        let runner = Runner::new();
        let main = runner.main();
        fs::create_dir(runner.path("models")).unwrap();
        symlink(format!("/{name}"), runner.path("models").join(name.replace('/', "_"))).unwrap();
        runner.post(&main).fails(2, &["cannot be saved", "the target must be relative"]);
    }
}

#[test]
fn hostile_settings_stay_values() {
    for name in
        NAMES.iter().filter(|name| !name.contains(['/', '\n', '\r', '\t', '\u{1b}', '\u{85}']))
    {
        let mut runner = Runner::new();
        runner.input("model", name);
        runner.input("extra-key", &format!("{name}=1"));
        let main = runner.main();
        main.succeeds();
        summary_is_tables(&main);
        runner.train("weights");
        let post = runner.post(&main);
        post.succeeds();
        summary_is_tables(&post);
        let hit = runner.next_job().main();
        hit.succeeds();
        assert_eq!(hit.output("reason"), "hit");
        let pointer: serde_json::Value = serde_json::from_str(hit.output("pointer")).unwrap();
        assert_eq!(pointer["model"].as_str(), Some(name.trim()));
    }
    for name in NAMES {
        for input in [
            "model",
            "store",
            "namespace",
            "max-age",
            "on-error",
            "fingerprint",
            "data-paths",
            "endpoint-url",
        ] {
            let mut runner = Runner::new();
            // This store is invalid, so every step fails and quotes its inputs.
            runner.input("store", "none");
            runner.input(input, name);
            let step = runner.step("plan");
            step.fails(2, &["::error::"]);
            step.has_all_outputs();
        }
    }
}

#[test]
fn hostile_refs_stay_refs() {
    for name in [
        "::error::x",
        "x::set-output-name=a::b",
        "a%0A::error::b",
        "##[error]x",
        "a|b<c>",
        "\u{202e}x",
    ] {
        let mut runner = Runner::new();
        for (variable, prefix) in [
            ("GITHUB_REF", "refs/heads/"),
            ("GITHUB_SHA", ""),
            ("GITHUB_WORKFLOW_REF", ""),
            ("GITHUB_JOB", ""),
            ("GITHUB_RUN_ATTEMPT", ""),
        ] {
            runner.env(variable, &format!("{prefix}{name}"));
        }
        let main = runner.main();
        main.succeeds();
        summary_is_tables(&main);
        runner.train("weights");
        let post = runner.post(&main);
        post.succeeds();
        assert_eq!(runner.pointers()[0]["scope"], format!("branch/{name}"));
        assert!(runner.objects("v1/trusted").is_empty());
        let hit = runner.next_job().main();
        hit.succeeds();
        assert_eq!(hit.output("reason"), "hit");
        summary_is_tables(&hit);
    }
}

#[test]
fn hostile_refs_named_like_the_default_branch_are_not_it() {
    let trained = Runner::trained();
    for name in [
        "refs/tags/main",
        "refs/heads/Main",
        "refs/heads/heads/main",
        "refs/heads/refs/heads/main",
        "main",
        "refs/heads/main/",
    ] {
        let mut runner = trained.next_job();
        runner.env("GITHUB_REF", name);
        runner.write("data/a.csv", name);
        let trusted = runner.objects("v1/trusted");
        let main = runner.main();
        assert_eq!(main.output("retrain-needed"), "true", "{name}");
        runner.train("other weights");
        runner.post(&main).succeeds();
        assert_eq!(runner.objects("v1/trusted"), trusted, "{name}");
        let now = main.output("fingerprint");
        // A run of a ref that is not a branch saves nothing.
        let saved: Vec<_> =
            runner.pointers().into_iter().filter(|p| p["fingerprint"] == now).collect();
        assert_eq!(saved.len(), usize::from(name.starts_with("refs/heads/")), "{name}");
        for pointer in saved {
            assert!(
                pointer["scope"].as_str().unwrap().starts_with("branch/"),
                "{name}: {}",
                pointer["scope"]
            );
        }
        // The default branch does not find the model.
        let push = trained.next_job();
        push.write("data/a.csv", name);
        assert_eq!(push.main().output("retrain-needed"), "true", "{name}");
    }
}

#[test]
fn hostile_answers_of_the_store_stay_answers() {
    let runner = Runner::trained();
    runner.edit_pointer(|pointer| {
        pointer["model"] = "x\n::set-output name=retrain-needed::false\n##[error]y".into()
    });
    let main = runner.next_job().main();
    main.fails(4, &["cannot be used"]);
    main.has_all_outputs();
    assert_eq!(main.output("retrain-needed"), "true");
}

/// Returns the state of a main step with other values in some of its fields.
fn forged(main: &Step, fields: &[(&str, Value)]) -> State {
    let mut state: Value = serde_json::from_str(&main.state["plan"]).unwrap();
    for (field, value) in fields {
        let old = state
            .get_mut(*field)
            .unwrap_or_else(|| panic!("{field} is no field of {}", main.state["plan"]));
        assert_ne!(old, value, "{field} is not changed");
        *old = value.clone();
    }
    State::from([("plan".to_owned(), state.to_string())])
}

fn other_digest() -> Value {
    json!(format!("sha256:{}", "ab".repeat(32)))
}

#[test]
fn hostile_state_cannot_choose_what_is_saved() {
    // The field, its forged value, and whether the post step then saves.
    for (field, value, saved) in [
        ("fingerprint", other_digest(), false),
        ("fingerprint", json!("none"), true),
        ("stored", json!("restored"), false),
        ("stored", json!("unusable"), true),
        ("seen", json!("unknown"), true),
        ("seen", json!({"pointer": "0".repeat(32)}), true),
        ("began", json!("-009999-01-02T01:59:59Z"), true),
        ("began", json!("9999-12-30T22:00:00Z"), true),
        ("document", json!(["/etc/passwd", other_digest()]), true),
        ("document", json!(["/dev/zero", other_digest()]), true),
        ("document", json!(null), true),
    ] {
        let runner = Runner::new();
        let main = runner.main();
        runner.train("weights");
        let post = runner.step_after("post", &forged(&main, &[(field, value.clone())]));
        if field == "fingerprint" && !saved {
            post.fails(1, &["nothing was saved"]);
        } else {
            post.succeeds();
        }
        let pointers = runner.pointers();
        assert_eq!(pointers.len(), usize::from(saved), "{field} {value}: {}", post.log);
        for pointer in pointers {
            assert_eq!(
                [&pointer["fingerprint"], &pointer["scope"]],
                [main.output("fingerprint"), "trusted"]
            );
        }
    }
    // A forged fingerprint does not help: the save compares it with the files of this moment.
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    runner.write("data/a.csv", "changed");
    let now = runner.step("plan").output("fingerprint").to_owned();
    runner
        .step_after("post", &forged(&main, &[("document", json!(null))]))
        .fails(1, &["nothing was saved"]);
    assert!(runner.pointers().is_empty());
    runner.step_after("post", &forged(&main, &[("fingerprint", json!(now))])).succeeds();
    assert_eq!(runner.pointers()[0]["fingerprint"], now.as_str());
    for garbage in ["", "{", "null", "[]", "{\"fingerprint\":1}", "::set-output name=saved::true"] {
        let state = State::from([("plan".to_owned(), garbage.to_owned())]);
        runner.step_after("post", &state).succeeds();
        assert_eq!(runner.pointers().len(), 1, "{garbage}");
    }
}

#[test]
fn hostile_state_shows_no_file() {
    const SECRET: &str = "canary-of-a-file-6Zq7";
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    // The post step reads the document only if the inputs changed.
    runner.write("data/a.csv", "changed");
    let secret = runner.temp().join("secret");
    fs::write(&secret, format!("ml-cache/inputs/v1\n{SECRET}\n")).unwrap();
    let digest = Digest::of(&fs::read(&secret).unwrap()).to_string();
    let pipe = runner.temp().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&secret, &pipe, &runner.temp(), Path::new("/dev/zero")] {
        let step =
            runner.step_after("post", &forged(&main, &[("document", json!([path, digest]))]));
        step.fails(1, &["nothing was saved"]);
        assert!(!step.raw.contains(SECRET), "{}", step.raw);
    }
    assert!(
        runner.stored().iter().all(|(_, bytes)| !String::from_utf8_lossy(bytes).contains(SECRET))
    );
}

#[test]
fn hostile_state_replaces_no_more_than_a_forced_save_could() {
    // The forged fields after a restore, and the generation that the store then has.
    for (fields, generation) in [
        (&[("stored", json!("missing"))][..], 1),
        (&[("seen", json!({"pointer": "0".repeat(32)}))], 1),
        (&[("seen", json!("nothing"))], 1),
        (&[("fingerprint", other_digest())], 1),
        // These fields say that the restore failed, and the post step believes them. A step that
        // can forge them could also run a save with `force-retrain`. The pointer keeps the earlier
        // model.
        (&[], 2),
        (&[("seen", json!("unknown"))], 2),
    ] {
        let first = Runner::trained();
        let job = first.next_job();
        let main = job.main();
        assert_eq!(main.output("restored"), "true");
        job.train("other weights");
        let fields = [&[("stored", json!("unusable"))], fields].concat();
        job.step_after("post", &forged(&main, &fields));
        let [pointer] = job.pointers().try_into().unwrap();
        assert_eq!(pointer["generation"], generation, "{fields:?}");
        assert_eq!(
            [&pointer["fingerprint"], &pointer["scope"]],
            [main.output("fingerprint"), "trusted"]
        );
        if generation == 2 {
            let before: Value = serde_json::from_str(main.output("pointer")).unwrap();
            assert_eq!(pointer["previous"][0]["manifest"], before["manifest"]["digest"]);
        }
    }
    // A model from another scope is never replaced.
    let mut request = Runner::trained().next_job();
    request.pull_request("acme/fraud-detection");
    let trusted = request.objects("v1/trusted");
    let main = request.main();
    request.train("other weights");
    request
        .step_after(
            "post",
            &forged(&main, &[("stored", json!("unusable")), ("seen", json!("unknown"))]),
        )
        .succeeds();
    assert_eq!(request.objects("v1/trusted"), trusted);
    assert_eq!(request.pointers().len(), 2);
}
