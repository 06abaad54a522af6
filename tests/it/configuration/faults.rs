//! Configuration files that cannot be used, and the messages about them.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::project;
use crate::support::cli::Sandbox;

#[test]
fn every_fault_has_its_place_and_its_remedy() {
    let file = "\
stroe: s3://ml-models/cache
region: 12
data: data/**
endpoint-url: ftp://x
namespace: just-one
force-path-style: 'true'
trusted-refs: ['*']
roles: { trustd: x, deploy: arn:aws:iam::1:user/x }
defaults:
  trainig: src/**
  extra: { 'a=b': 1, python: ~ }
models:
  fraud:
    data-paths: data/**
    max-age: soon
    path: [ok, ../up, '#x']
  fraud: {}
  a/b:
    extra: { k: [1] }
    max_age: 3d
    working-directory: /x
";
    let sandbox = project(file);
    let run = sandbox.raw(["plan", "--model", "fraud"]);
    run.fails(2, &["settings cannot be used:", "docs/configuration.md"]);
    for fault in [
        "ml-cache.yml:1:1: the file has no key `stroe`: did you mean `store`?; accepted: `store`, ",
        "ml-cache.yml:2:9: `region` is a number; accepted: a text, in quotes if need be: \"12\"",
        "ml-cache.yml:3:1: the file has no key `data`: it belongs to a model; accepted: ",
        "ml-cache.yml:4:15: `endpoint-url`: `ftp://x`: it is not a base URL; accepted: ",
        "ml-cache.yml:5:12: `namespace`: `just-one`: ",
        "ml-cache.yml:6:19: `force-path-style` is a text, not a boolean; accepted: `true` or ",
        "ml-cache.yml:7:16: `trusted-refs`: `*`: it trusts every branch, or every tag; accepted: ",
        "ml-cache.yml:8:10: `roles` has no key `trustd`: did you mean `trusted`?; accepted: ",
        "ml-cache.yml:8:29: `roles.deploy`: `arn:aws:iam::1:user/x`: it is not the ARN of a role; ",
        "ml-cache.yml:10:3: `defaults` has no key `trainig`: did you mean `training`?; accepted: ",
        "ml-cache.yml:11:12: `a=b` is no name for a value; accepted: ",
        "ml-cache.yml:11:30: `extra`: `python` is empty, not a value; accepted: ",
        "ml-cache.yml:14:5: the model `fraud` has no key `data-paths`: did you mean `data`?; ",
        "ml-cache.yml:15:14: `max-age`: `soon`: it is not a positive duration; accepted: ",
        "ml-cache.yml:16:16: `path`: `../up`: `..` is not allowed; accepted: ",
        "ml-cache.yml:16:23: `path`: `#x` starts with `#`, as a comment does",
        "ml-cache.yml:17:3: `fraud` appears twice, first on line 13",
        "ml-cache.yml:18:3: `models`: `a/b`: ",
        "ml-cache.yml:19:17: `extra`: `k` is a list, not a value; accepted: ",
        "ml-cache.yml:20:5: the model `a/b` has no key `max_age`: did you mean `max-age`?; ",
        "ml-cache.yml:21:24: `working-directory`: `/x`: it must be relative to the workspace; ",
    ] {
        let found = run.stderr.lines().filter(|line| line.trim_start().starts_with(fault)).count();
        assert_eq!(found, 1, "{fault:?} in:\n{}", run.stderr);
    }
    let places = run.stderr.lines().filter(|line| line.trim_start().starts_with("ml-cache.yml:"));
    assert_eq!(places.count(), 21, "{}", run.stderr);
    assert!(!run.stderr.contains("needs something to hash"), "{}", run.stderr);
}

#[test]
fn a_file_of_another_form_is_refused() {
    for (text, fault) in [
        ("", "ml-cache.yml:1:1: the file is empty; accepted: `store`"),
        ("# only a comment\n", "ml-cache.yml:1:1: the file is empty"),
        ("- a\n", "ml-cache.yml:1:1: the file is a list, not a map"),
        ("models:\n", "ml-cache.yml:1:1: `models` is empty, not a map"),
        ("models:\n  a:\n", "ml-cache.yml:2:3: the model `a` is empty, not a map"),
        ("a: [1\nb: 2\n", "ml-cache.yml:1:4: the bracket `[` is never closed"),
        ("region: \"a\n", "ml-cache.yml:1:9: the quote is never closed"),
        ("region: 'a' b\n", "it is not YAML: "),
        ("region: a\n---\nregion: b\n", "ml-cache.yml:2:1: a second document begins here"),
        ("region: &a b\nnamespace: *a\n", "ml-cache.yml:2:12: an alias is not accepted here"),
        ("region: !!str 1\n", "ml-cache.yml:1:9: the value has a tag, which"),
        ("models: { ? [a] : {} }\n", "ml-cache.yml:1:13: a key of `models` is a list, not a name"),
        ("region: a\u{0}\nmodels: 1", "ml-cache.yml:1:10: a control character stands here"),
        ("models:\n  a:\n    <<: {}\n", "the model `a` has no key `<<`: write the values"),
        ("region: |\n  a\n", "ml-cache.yml:2:3: `region` begins or ends with a space, or has "),
        ("[[[[[[[[[[[[", "lists and maps lie too deep in one another here"),
    ] {
        let sandbox = project(text);
        let run = sandbox.run("plan", &[]);
        run.fails(2, &[fault]);
    }
}

#[test]
fn a_file_without_models_tells_where_a_model_belongs() {
    for text in ["models: {}\n", "region: eu-central-1\n"] {
        let sandbox = project(text);
        let run = sandbox.raw(["plan", "--store", "file:///nowhere"]);
        run.fails(2, &["hint: or name a model in `ml-cache.yml`, which has none yet: `models: {"]);
    }
}

#[test]
fn a_slip_has_a_single_fault_at_its_place() {
    let of_model = |lines: &str| format!("models:\n  m:\n{lines}    path: m\n");
    let exclusion = "a pattern that begins with `!` needs quotes";
    let asterisk = "a pattern that begins with `*` needs quotes";
    for (text, place, fault) in [
        (of_model("    data:\n      - d/**\n      - !d/x\n"), "5:9", exclusion),
        (of_model("    data: !data/x\n"), "3:11", exclusion),
        (of_model("    data: [d/**, !d/x]\n"), "3:18", exclusion),
        (of_model("    data: **/*.csv\n"), "3:11", asterisk),
        (of_model("    data:\n      - *.csv\n"), "4:9", asterisk),
        (of_model("    data: [a\n"), "3:11", "the bracket `[` is never closed"),
        (of_model("    data: a\n    max-age:3d\n"), "4:13", "a space is missing after `:`"),
        ("models:\n  m:\n    path:m\n".to_owned(), "3:5", "because a space is missing after `:`"),
        ("store:s3://b/c\nregion: x\n".to_owned(), "1:7", "a space is missing after `:`"),
    ] {
        let run = project(&text).run("plan", &[]);
        run.fails(2, &[&format!("ml-cache.yml:{place}: "), fault]);
        assert_eq!(run.stderr.matches("ml-cache.yml:").count(), 1, "{text}{}", run.stderr);
    }
    // The other faults of the file are told beside it.
    let run = project(&of_model("    data: !x\n    max-age: soon\n    trainig: *.py\n"));
    let run = run.run("plan", &[]);
    run.fails(2, &["ml-cache.yml:3:11: ", "ml-cache.yml:4:14: ", "ml-cache.yml:5:5: "]);
    run.fails(2, &["ml-cache.yml:5:14: "]);
}

#[test]
fn every_message_has_a_remedy_that_works() {
    let of_model = |lines: &str| format!("models:\n  m:\n    path: m\n    {lines}\n");
    for (text, fault) in [
        (
            "aws-region: x\n".to_owned(),
            "the file has no key `aws-region`: here it is called `region`",
        ),
        ("restore-keys: x\n".to_owned(), "`restore-keys`: it is not needed, because only a model"),
        ("key: x\n".to_owned(), "the content of `data` and `training` and the values of `extra`"),
        ("role: x\n".to_owned(), "`role`: here it is called `roles`; accepted: "),
        ("fail-on-cache-miss: true\n".to_owned(), "it belongs to the inputs of the step; here it "),
        ("comment: true\n".to_owned(), "`comment`: it is an input; give it to the step"),
        ("data-paths: x\n".to_owned(), "`data-paths`: it belongs to a model, as `data`"),
        (of_model("role-to-assume: x"), "it belongs to the top of the file, as `roles`"),
        (of_model("role-arn: x"), "`role-arn`: here it is called `roles`"),
        (of_model("data-path: x"), "`data-path`: did you mean `data`?"),
        (of_model("zzzzzz: x"), "`zzzzzz`: remove it"),
        (of_model("max-age: 30"), "`max-age` is a number; accepted: a duration such as `30d`\n"),
        (of_model("min-metrics: 0.9"), "is a number; accepted: a text such as `auc >= 0.9`\n"),
        (of_model("data: 30"), "`data` is a number; accepted: a list of texts, in quotes if need"),
        (of_model("data: [30]"), "an item of `data` is a number; accepted: a text, in quotes if"),
        (of_model("data: [[x]]"), "an item of `data` is a list; accepted: a text\n"),
        (of_model("min-metrics: [{auc: 0.9}]"), "an item of `min-metrics` is a map; accepted: a "),
        (of_model("extra: {f: \"x\\ny\"}"), "several lines; accepted: a text on one line\n"),
        (
            of_model("data: \"x\\ny\""),
            "accepted: a text on one line, and a list for several texts\n",
        ),
        ("models:\n  m:\n".to_owned(), "write `m: {}` for a model without keys; accepted: "),
        ("models:\n".to_owned(), "write `models: {}` for a file without models; accepted: "),
    ] {
        project(&text).run("plan", &[]).fails(2, &[fault]);
    }
}

#[test]
fn no_secret_of_an_address_is_shown() {
    let sandbox = project("store: https://me:hunter2@host/x\nendpoint-url: http://me:hunter2@h\n");
    let run = sandbox.raw(["plan", "--model", "m", "--data-paths", "data/**"]);
    run.fails(2, &["ml-cache.yml:1:8: `store`: ", "ml-cache.yml:2:15: `endpoint-url`: "]);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn anything_in_place_of_the_file_is_refused_at_once() {
    let sandbox = Sandbox::with_project();
    let place = sandbox.path("ml-cache.yml");
    let refused = |why: &str| {
        let run = sandbox.run("plan", &[]);
        run.fails(2, &["input `config`: `ml-cache.yml`: ", why, "hint:"]);
    };
    fs::create_dir(&place).unwrap();
    refused("it is a directory");
    fs::remove_dir(&place).unwrap();
    mknodat(CWD, &place, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    refused("it is not a regular file");
    fs::remove_file(&place).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&place).unwrap();
    refused("it is not a regular file");
    drop(socket);
    fs::remove_file(&place).unwrap();
    sandbox.write("good.yml", "models: {}\n");
    for target in ["good.yml", "nowhere", "/etc/hostname", "/dev/zero"] {
        symlink(target, &place).unwrap();
        refused("it is a link, and no link is followed");
        fs::remove_file(&place).unwrap();
    }
    sandbox.write("ml-cache.yml", b"region: a\nnamespace: \xc3\xbc\xff\n");
    refused("line 2, column 13 is not UTF-8");
    sandbox.write("ml-cache.yml", "# long\n".repeat(40_000));
    refused("it has more than 262144 bytes");
    // The same comments in a smaller file do no harm, and neither does a mark of the byte order.
    sandbox.write("ml-cache.yml", format!("\u{feff}{}models: {{}}\n", "# long\n".repeat(30_000)));
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "no-model");
}

#[test]
fn the_file_lies_below_the_workspace() {
    let sandbox = Sandbox::with_project();
    sandbox.write("ci/ml.yml", "models: {}\n");
    fs::write(sandbox.work().parent().unwrap().join("up.yml"), "models: {}\n").unwrap();
    symlink("ci", sandbox.path("link")).unwrap();
    let absolute = sandbox.path("ci/ml.yml").display().to_string();
    for good in ["ci/ml.yml", "./ci//ml.yml", &absolute] {
        let run = sandbox.run("plan", &["--config", good]);
        assert!(run.json()["reason"] == "no-model" && run.stderr.contains("settings: "), "{good}");
    }
    for (bad, why) in [
        ("../up.yml", "`..` is not allowed"),
        ("/etc/hostname", "it lies outside the workspace"),
        (".", "it names the workspace itself"),
        ("ci/none.yml", "there is no such file"),
        ("link/ml.yml", "a directory above it is a link"),
        ("ci/ml.yml/x", "it cannot be opened: Not a directory"),
    ] {
        sandbox.run("plan", &["--config", bad]).fails(2, &["input `config`: ", why]);
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can give a file to another user");
    }
    let sandbox = project("models: {}\n");
    let file = sandbox.path("ml-cache.yml");
    chown(&file, Some(65_534), None).unwrap();
    sandbox.run("plan", &[]).fails(2, &["it belongs to another user"]);
    // A container's root works in a workspace of the runner's user.
    chown(sandbox.work(), Some(65_534), None).unwrap();
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "no-model");
}
