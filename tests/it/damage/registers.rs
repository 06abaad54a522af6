//! Damaged pointers, heads and inputs documents. The documents only explain, so they stop nothing.

use std::fs;
use std::path::PathBuf;

use super::{Damage, Sandbox, empty, extend, flip_middle, truncate};
use crate::support::cli::{edit_json, snapshot};

impl Sandbox {
    /// Returns the only object of the store in a directory of this name.
    fn only(&self, directory: &str) -> PathBuf {
        let mut found = self.objects("v1");
        found.retain(|path| path.parent().is_some_and(|parent| parent.ends_with(directory)));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn garble(bytes: Vec<u8>) -> Vec<u8> {
    [b"garbage".to_vec(), bytes].concat()
}

fn huge(_: Vec<u8>) -> Vec<u8> {
    vec![b' '; (64 << 10) + 1]
}

fn later_version(bytes: Vec<u8>) -> Vec<u8> {
    String::from_utf8(bytes).unwrap().replacen("/v1\"", "/v9\"", 1).into_bytes()
}

fn unknown_field(bytes: Vec<u8>) -> Vec<u8> {
    String::from_utf8(bytes)
        .unwrap()
        .replacen('{', "{\"endpoint\":\"http://evil.example\",", 1)
        .into_bytes()
}

const BROKEN: [Damage; 6] =
    [truncate, empty, garble, later_version, unknown_field, |_| vec![0xff, 0xfe, 0]];

#[test]
fn a_broken_pointer_is_noticed() {
    let sandbox = Sandbox::with_old_tree();
    for damage in BROKEN {
        sandbox.notices(&sandbox.only("pointers"), damage);
    }
}

#[test]
fn a_generation_at_its_limit_is_no_trap() {
    const LARGEST: u64 = (1 << 53) - 1;
    for (generation, why) in [
        (LARGEST, "has the largest generation already"),
        (LARGEST + 1, "the largest is 9007199254740991"),
        (u64::MAX, "the largest is 9007199254740991"),
    ] {
        let sandbox = Sandbox::with_old_tree();
        let pointer = sandbox.only("pointers");
        edit_json(&pointer, |pointer| pointer["generation"] = generation.into());
        let planted = fs::read(&pointer).unwrap();
        let run = sandbox.run("save", &["--force-retrain"]);
        run.fails(4, &[why, "hint: remove that"]);
        assert_eq!(fs::read(&pointer).unwrap(), planted, "{generation}");
        // The hint is the way out.
        fs::remove_file(&pointer).unwrap();
        assert_eq!(sandbox.run("save", &[]).json()["pointer"]["generation"], 1);
    }
}

#[test]
fn a_huge_pointer_is_not_read() {
    let sandbox = Sandbox::with_old_tree();
    let pointer = sandbox.only("pointers");
    fs::write(&pointer, huge(Vec::new())).unwrap();
    let run = sandbox.restore_leaves_all_as_it_was();
    run.fails(1, &["more than 65536 bytes", "hint: remove that object"]);
}

#[test]
fn a_pointer_of_something_else_is_noticed() {
    for (field, value) in [
        ("namespace", "org/other"),
        ("model", "churn"),
        ("scope", "pr/7"),
        ("fingerprint", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ] {
        let sandbox = Sandbox::with_old_tree();
        let pointer = sandbox.only("pointers");
        edit_json(&pointer, |pointer| pointer[field] = value.into());
        sandbox.restore_leaves_all_as_it_was().fails(4, &["/pointers/", field, value, "hint:"]);
        sandbox.run("plan", &[]).fails(4, &["/pointers/", value]);
        sandbox.run("save", &[]).fails(4, &["/pointers/", value]);
    }
}

/// A pointer has no digest, so a flipped bit may go unnoticed. A restore still verifies all that
/// the pointer leads to.
#[test]
fn a_flipped_bit_of_a_pointer_does_no_harm_to_the_tree() {
    let sandbox = Sandbox::with_old_tree();
    let old = snapshot(&sandbox.path("models"));
    sandbox.model("new");
    let new = snapshot(&sandbox.path("models"));
    let pointer = sandbox.only("pointers");
    let good = fs::read(&pointer).unwrap();
    for at in (0..good.len()).step_by(13) {
        sandbox.model("old");
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&pointer, bytes).unwrap();
        let run = sandbox.run("restore", &[]);
        assert!(matches!(run.code, 0 | 3 | 4), "byte {at}: {}", run.stderr);
        let wanted = if run.code == 0 { &new } else { &old };
        assert_eq!(snapshot(&sandbox.path("models")), *wanted, "byte {at}: {}", run.stderr);
    }
}

#[test]
fn a_broken_head_stops_only_who_asks_for_the_latest_model() {
    for damage in BROKEN {
        let sandbox = Sandbox::with_old_tree();
        let fingerprint =
            sandbox.run("plan", &[]).json()["fingerprint"].as_str().unwrap().to_owned();
        let head = sandbox.only("heads");
        fs::write(&head, damage(fs::read(&head).unwrap())).unwrap();
        sandbox.restore_leaves_all_as_it_was().fails(4, &["/heads/local.json", "hint:"]);
        assert_eq!(
            sandbox.run("restore", &["--fingerprint", &fingerprint]).json()["restored"],
            true
        );
        let hit = sandbox.train(&[], "exit 9");
        assert_eq!(hit.json()["reason"], "hit");
        assert!(
            hit.stderr.contains("warning:") && hit.stderr.contains("/heads/local.json"),
            "{}",
            hit.stderr
        );
    }
}

#[test]
fn a_broken_head_does_not_prevent_a_training() {
    let sandbox = Sandbox::with_old_tree();
    let head = sandbox.only("heads");
    fs::write(&head, truncate(fs::read(&head).unwrap())).unwrap();
    sandbox.write("data/a.csv", "changed\n");
    let trained = sandbox.train(&[], "true");
    assert_eq!(trained.json()["saved"], true);
    assert!(trained.stderr.contains("/heads/local.json"), "{}", trained.stderr);
}

#[test]
fn a_broken_inputs_document_costs_only_the_explanation() {
    for damage in [flip_middle as Damage, truncate, empty, garble, extend] {
        let sandbox = Sandbox::with_old_tree();
        let document = sandbox.only("inputs");
        fs::write(&document, damage(fs::read(&document).unwrap())).unwrap();
        assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
        sandbox.write("data/a.csv", "changed\n");
        let plan = sandbox.run("plan", &[]);
        assert_eq!(plan.json()["retrain-needed"], true);
        assert!(plan.stderr.contains("v1/inputs/"), "{}", plan.stderr);
    }
}
