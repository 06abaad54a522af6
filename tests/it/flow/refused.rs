//! A finished training whose model must not be filed: the store keeps it for a person, and no
//! command takes it for the model of any inputs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Sandbox, TRAIN};
use crate::support::cli::{Run, edit_json, read_json, snapshot, stand_in};
use crate::support::s3::Server;

/// Returns the command that the hint of a refused save shows.
fn shown_command(run: &Run) -> String {
    let hint = run.stderr.split("hint: to get the model of this training all the same, run `");
    hint.last().unwrap().split("`; no plan finds it").next().unwrap().to_owned()
}

/// Runs a command in a shell, as a person does who copies it.
fn by_hand(sandbox: &Sandbox, command: &str) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_ml-cache")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let ours = sandbox.command(["--version"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{command} --json")]).env_clear().current_dir(sandbox.work());
    shell.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Run::of(shell.env("PATH", path).stdin(Stdio::null()).output().unwrap())
}

/// A project whose training changed its data, and the refused run.
fn refused() -> (Sandbox, Run) {
    let sandbox = Sandbox::with_training();
    let run = sandbox.train(&[], &format!("{TRAIN}; echo 9,90 >> data/b.csv"));
    run.fails(1, &["nothing was saved", "data modified: data/b.csv"]);
    (sandbox, run)
}

fn record_of(sandbox: &Sandbox) -> std::path::PathBuf {
    let [record] = sandbox.objects("v1/trusted").try_into().unwrap();
    assert!(record.parent().unwrap().ends_with("local/work/fraud/refused"), "{record:?}");
    record
}

#[test]
fn the_shown_command_restores_the_model() {
    let (sandbox, run) = refused();
    let wanted = snapshot(&sandbox.path("models"));
    let laptop = Sandbox::new();
    let restored = by_hand(&laptop, &shown_command(&run));
    assert_eq!(snapshot(&laptop.path("models")), wanted);
    let output = restored.json();
    assert_eq!(
        [&output["restored"], &output["cache-hit"], &output["retrain-needed"]],
        [true, false, true]
    );
    assert_eq!([&output["pointer"], &output["fingerprint"]], [&json!(null), &json!(null)]);
    let told = "a save refused this model: its inputs changed after the plan";
    assert!(restored.stderr.contains(told), "{}", restored.stderr);

    let record = read_json(&record_of(&sandbox));
    assert_eq!([&record["reason"], &record["scope"]], ["inputs-changed", "trusted"]);
    assert_eq!(record["files"], 4);
    let now = sandbox.run("plan", &[]).json();
    assert_eq!(record["found"], now["fingerprint"]);
    assert_ne!(record["planned"], record["found"]);
}

#[test]
fn no_command_takes_it_for_the_model_of_any_inputs() {
    let (sandbox, run) = refused();
    let pointer = shown_command(&run).rsplit(' ').next().unwrap().to_owned();
    let record = fs::read_to_string(record_of(&sandbox)).unwrap();
    // Neither the inputs of the plan nor the inputs of the save have a model, and no ref uses it.
    let changed = sandbox.run("plan", &[]).json();
    sandbox.project();
    let planned = sandbox.run("plan", &[]).json();
    for plan in [changed, planned] {
        assert_eq!([&plan["reason"], &plan["cache-hit"]], [&json!("no-model"), &json!(false)]);
        let fingerprint = plan["fingerprint"].as_str().unwrap();
        sandbox.run("restore", &["--fingerprint", fingerprint]).fails(3, &["there is no model"]);
        let arguments = ["--pointer", &pointer, "--fingerprint", fingerprint];
        let told = ["input `fingerprint`", "a refused model belongs to no fingerprint"];
        sandbox.run("restore", &arguments).fails(2, &told);
    }
    sandbox.run("restore", &[]).fails(3, &["has no model yet"]);
    for verb in ["resolve", "verify"] {
        let told = ["no pointer names a refused model, so only `restore` can use it"];
        sandbox.run(verb, &["--pointer", &pointer]).fails(2, &told);
    }
    sandbox.run("restore", &["--pointer", &record]).fails(1, &["not a valid pointer"]);

    // The next training of these inputs is filed as usual.
    let trained = sandbox.train(&[], TRAIN).json();
    assert_eq!([&trained["saved"], &trained["pointer"]["generation"]], [&json!(true), &json!(1)]);
    // It moves no head.
    sandbox.train(&["--force-retrain"], &format!("{TRAIN}; echo x > data/c.csv")).fails(1, &[]);
    assert_eq!(sandbox.run("restore", &[]).json()["fingerprint"], trained["fingerprint"]);
}

/// Demands that the save was refused for this reason, and that its command restores the model.
#[track_caller]
fn is_kept(sandbox: &Sandbox, run: &Run, code: i32, reason: &str) {
    run.fails(code, &[]);
    let laptop = Sandbox::new();
    by_hand(&laptop, &shown_command(run)).json();
    assert!(laptop.path("models/model.bin").exists());
    let digest = shown_command(run).rsplit('/').next().unwrap().to_owned();
    let record = format!("v1/trusted/local/work/fraud/refused/{digest}.json");
    assert_eq!(read_json(&sandbox.store_dir().join(record))["reason"], reason);
}

#[test]
fn every_refusal_after_a_training_keeps_the_model() {
    let sandbox = Sandbox::with_training();
    fs::write(sandbox.path("../stand-in"), stand_in("base weights")).unwrap();
    for (script, code, reason) in [
        ("echo x > src/new.py", 1, "inputs-changed"),
        ("rm -r src", 2, "inputs-unreadable"),
        ("ln -s nowhere data/broken", 2, "inputs-unreadable"),
        ("cp ../stand-in models/base.bin", 2, "lfs-stand-ins"),
    ] {
        // A record is never replaced, so each training writes another model.
        let run = sandbox.train(&[], &format!("{TRAIN}; echo '{script}' > models/log; {script}"));
        is_kept(&sandbox, &run, code, reason);
        for path in ["src/new.py", "data/broken", "models/base.bin"] {
            let _ = fs::remove_file(sandbox.path(path));
        }
        sandbox.project();
    }
    let fingerprint = format!("sha256:{}", "0".repeat(64));
    sandbox.write("models/log", "by hand");
    let planned = sandbox.run("save", &["--fingerprint", &fingerprint]);
    is_kept(&sandbox, &planned, 1, "inputs-changed");
    sandbox.write("models/log", "on a stand-in");
    sandbox.write("data/x.bin", stand_in("content"));
    is_kept(&sandbox, &sandbox.run("save", &[]), 2, "lfs-stand-ins");
    assert!(sandbox.pointers().is_empty());

    sandbox.run("save", &["--lfs-stand-ins=allow"]).json();
    let pointer = sandbox
        .objects("v1/trusted")
        .into_iter()
        .find(|path| path.parent().unwrap().ends_with("pointers"));
    fs::write(pointer.unwrap(), "{").unwrap();
    sandbox.write("models/log", "again");
    is_kept(&sandbox, &sandbox.run("save", &["--lfs-stand-ins=allow"]), 4, "store-damaged");
}

#[test]
fn a_save_of_misspelt_inputs_keeps_nothing() {
    let sandbox = Sandbox::with_project();
    sandbox.write("models/model.bin", "weights");
    sandbox.run("save", &["--data-paths", "typo/**"]).fails(2, &["nothing is selected"]);
    assert!(!sandbox.store_dir().exists());
}

#[test]
fn a_record_of_another_model_or_of_no_model_is_refused() {
    let (sandbox, run) = refused();
    let command = shown_command(&run);
    for (from, to, code, told) in [
        ("refused:trusted", "refused:pr/7", 3, "the scope `pr/7` has no refused model"),
        ("--model fraud", "--model other", 3, "has no refused model"),
        ("refused:trusted/", "refused:trusted/0", 2, "it names no refused model"),
        ("refused:trusted/", "refused:", 2, "it names no refused model"),
        ("refused:trusted/", "refused:tags/v1/", 2, "it names no refused model"),
    ] {
        let changed = command.replace(from, to);
        assert_ne!(changed, command);
        by_hand(&Sandbox::new(), &changed).fails(code, &[told]);
    }
    let record = record_of(&sandbox);
    for (field, value) in [
        ("scope", "pr/7"),
        ("model", "other"),
        ("namespace", "org/other"),
        ("schema", "ml-cache/pointer/v1"),
    ] {
        let before = fs::read(&record).unwrap();
        edit_json(&record, |record| record[field] = json!(value));
        by_hand(&Sandbox::new(), &command).fails(4, &["/refused/", "cannot be used"]);
        fs::write(&record, before).unwrap();
    }
    let [manifest] = sandbox.objects("v1/manifests").try_into().unwrap();
    fs::write(&manifest, "{}").unwrap();
    by_hand(&Sandbox::new(), &command).fails(4, &["is damaged"]);
}

#[test]
fn a_bucket_keeps_a_refused_model_too() {
    let server = Server::careless();
    let mut sandbox = Sandbox::with_store("s3://models/cache");
    sandbox.project();
    sandbox.write("models/model.bin", "weights");
    server.endpoint.env().into_iter().for_each(|(name, value)| sandbox.env(name, value));
    let url = server.endpoint.url.clone();
    let fingerprint = format!("sha256:{}", "0".repeat(64));
    let more = ["--endpoint-url", &url, "--region", "eu-central-1", "--fingerprint", &fingerprint];
    let run = sandbox.run("save", &more);
    run.fails(1, &["--store s3://models/cache --region eu-central-1 --endpoint-url http://"]);
    assert!(server.objects("/pointers/").is_empty());
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    assert_eq!(by_hand(&sandbox, &shown_command(&run)).json()["restored"], true);
    assert_eq!(sandbox.read("models/model.bin"), "weights");
}

#[test]
fn a_model_that_cannot_be_kept_is_told() {
    let sandbox = Sandbox::with_training();
    let script = format!("{TRAIN}; echo x > data/new.csv; echo s > models/.netrc");
    let run = sandbox.train(&[], &script);
    run.fails(1, &["nothing was saved", "data added: data/new.csv"]);
    run.fails(1, &["the model of this training is not kept", "`models/.netrc` cannot be saved"]);
    assert!(!run.stderr.contains("ml-cache restore"), "{}", run.stderr);
    sandbox.has_stored_no_model();
}
