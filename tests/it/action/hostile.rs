//! Names that try to be workflow commands, outputs or Markdown.
//!
//! [`super::protocol`] checks every log and every file command of every step; these steps try hard.

use std::fs;
use std::os::unix::fs::symlink;

use super::runner::{Runner, State, Step};

/// File names that somebody might choose to get something said or set.
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
    "::stop-commands::x",
    "#!comment",
    "tab\there",
];

impl Runner {
    /// Files of all hostile names in a directory, with this content.
    fn hostile_files(&self, directory: &str, content: &str) {
        for (n, name) in NAMES.iter().enumerate() {
            self.write(&format!("{directory}/{}", name.replace('/', "_")), &format!("{content} {n}"));
        }
    }
}

/// Demands that every line of the summary is one that we mean to write.
#[track_caller]
pub(super) fn summary_is_tables(step: &Step) {
    assert_eq!(step.summary.matches("\n| :--- | :--- |\n").count(), 1, "{}", step.summary);
    for (n, line) in step.summary.split(['\n', '\r', '\u{2028}', '\u{85}']).enumerate() {
        let is_row = || line.starts_with("| ") && line.ends_with(" |");
        let line = line.replace("<details open>", "<details>");
        let fold = line.starts_with("<details><summary>") && line.ends_with("</summary>") || line == "</details>";
        let fine = if n == 0 { line.starts_with("### ") } else { line.is_empty() || is_row() || fold };
        assert!(fine, "{line:?} in\n{}", step.summary);
        let ours = ["<details><summary>", "</summary>", "</details>", "<code>", "</code>"];
        let inside = ours.iter().fold(line.clone(), |inside, tag| inside.replace(tag, ""));
        for markup in ["<", "](", "`", "@", "://"] {
            assert!(!inside.contains(markup), "{markup} in {line:?}");
        }
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
        assert_eq!(main.state.keys().collect::<Vec<_>>(), ["plan"]);
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
    post.fails(1, &["data modified: ", "nothing was saved"]);
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
    for name in NAMES.iter().filter(|name| !name.contains(['/', '\n', '\r', '\t', '\u{1b}', '\u{85}'])) {
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
        for input in ["model", "store", "namespace", "max-age", "on-error", "fingerprint", "data-paths", "endpoint-url"]
        {
            let mut runner = Runner::new();
            // A store that is none, so that every step fails and quotes what it was given.
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
    for name in ["::error::x", "x::set-output-name=a::b", "a%0A::error::b", "##[error]x", "a|b<c>", "\u{202e}x"] {
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
fn hostile_answers_of_the_store_stay_answers() {
    let runner = Runner::trained();
    runner.edit_pointer(|pointer| pointer["model"] = "x\n::set-output name=retrain-needed::false\n##[error]y".into());
    let main = runner.next_job().main();
    main.fails(4, &["cannot be used"]);
    main.has_all_outputs();
    assert_eq!(main.output("retrain-needed"), "true");
}

#[test]
fn hostile_state_cannot_choose_what_is_saved() {
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    let state = main.state["plan"].replace("\"retrain\":true", "\"retrain\":true,\"scope\":\"trusted\"");
    runner.step_after("post", &State::from([("plan".to_owned(), state)])).succeeds();
    assert_eq!(runner.pointers().len(), 1);
}
