//! Git LFS stand-ins: a plan may use them, a training and a save may not.

use std::os::unix::fs::symlink;

use super::{Sandbox, TRAIN};
use crate::support::cli::{Run, stand_in};

/// A training that shows in the workspace that it ran.
const MARKED: &str = "touch ran; mkdir -p models; echo weights > models/model.bin";

/// A project in which a path of the inputs leads to a stand-in of `content`.
fn project(kind: &str) -> Sandbox {
    let sandbox = Sandbox::with_training();
    sandbox.write("elsewhere/real.bin", stand_in("content"));
    let link = |target: &str, name: &str| symlink(target, sandbox.path(name)).unwrap();
    match kind {
        "data" => sandbox.write("data/x.bin", stand_in("content")),
        "training" => sandbox.write("src/x.bin", stand_in("content")),
        "link" => link("../elsewhere/real.bin", "data/x.bin"),
        "link to a link" => {
            link("real.bin", "elsewhere/link");
            link("../elsewhere/link", "src/x.bin");
        }
        "directory" => link("../elsewhere", "data/x.bin"),
        other => panic!("{other}"),
    }
    sandbox
}

#[test]
fn a_training_on_stand_ins_is_refused_before_and_after() {
    for (kind, path) in [
        ("data", "`data/x.bin`"),
        ("training", "`src/x.bin`"),
        ("link", "`data/x.bin`"),
        ("link to a link", "`src/x.bin`"),
        ("directory", "`data/x.bin/real.bin`"),
    ] {
        let sandbox = project(kind);
        let told = "1 input is a Git LFS stand-in in place of its content: ";
        let needles = [&format!("{told}{path}"), "hint:", "lfs-stand-ins: allow"];
        sandbox.train(&[], MARKED).fails(2, &needles);
        assert!(!sandbox.path("ran").exists() && !sandbox.store_dir().exists(), "{kind}");

        let plan = sandbox.run("plan", &[]);
        assert!(!plan.stderr.contains("stand-in"), "{}", plan.stderr);
        let fingerprint = plan.json()["fingerprint"].as_str().unwrap().to_owned();
        sandbox.write("models/model.bin", "weights");
        for more in [&[][..], &["--fingerprint", &fingerprint]] {
            sandbox.run("save", more).fails(2, &needles);
        }
        assert!(sandbox.pointers().is_empty(), "{kind}");

        let allowed = sandbox.train(&["--lfs-stand-ins=allow"], MARKED);
        assert_eq!(allowed.json()["saved"], true, "{kind}");
        let row = "Git LFS stand-ins  1, allowed by `lfs-stand-ins`";
        assert!(allowed.stderr.contains(row), "{}", allowed.stderr);
        assert_eq!(sandbox.pointers()[0]["fingerprint"], fingerprint);
    }
}

#[test]
fn a_plan_on_stand_ins_serves_a_training_elsewhere() {
    let planner = project("data");
    let plan = planner.run("plan", &[]).json();
    let trainer = Sandbox::with_training();
    trainer.write("data/x.bin", "content");
    trainer.write("models/model.bin", "weights");
    let save = |more: &[&str]| -> Run { trainer.run("save", more) };
    let fingerprint = plan["fingerprint"].as_str().unwrap();
    assert_eq!(save(&["--fingerprint", fingerprint]).json()["saved"], true);
}

#[test]
fn a_hit_on_stand_ins_is_restored() {
    let sandbox = Sandbox::trained();
    sandbox.write("data/a.csv", stand_in(&sandbox.read("data/a.csv")));
    sandbox.forget_model();
    let run = sandbox.train(&[], "exit 9");
    assert_eq!(run.json()["restored"], true);
    assert!(!run.stderr.contains("stand-in"), "{}", run.stderr);
}

#[test]
fn a_stand_in_among_the_files_of_the_model_is_refused() {
    let sandbox = Sandbox::with_training();
    sandbox.write("data/base.bin", "base weights");
    let script = format!("{TRAIN}; cp ../stand-in models/base.bin; ln -s base.bin models/up");
    std::fs::write(sandbox.path("../stand-in"), stand_in("base weights")).unwrap();
    let told = "2 files of the model are Git LFS stand-ins in place of their content: \
                `models/base.bin`, `models/up`";
    sandbox.train(&[], &script).fails(2, &["cannot save the model", told, "hint:"]);
    assert!(sandbox.pointers().is_empty());

    let mut arguments = Sandbox::arguments("save", &[]);
    *arguments.last_mut().unwrap() = "models\n!models/base.bin\n!models/up".to_owned();
    assert_eq!(sandbox.raw(&arguments).json()["saved"], true);
    let allowed = sandbox.run("save", &["--force-retrain", "--lfs-stand-ins=allow"]);
    assert_eq!(allowed.json()["pointer"]["generation"], 2);
}

#[test]
fn files_that_only_resemble_stand_ins_are_inputs() {
    let sandbox = Sandbox::with_training();
    sandbox.write("data/raw.dvc", "outs:\n- md5: d8e8fca2dc0f896fd7cb4cb0031ba249\n  path: raw\n");
    let extended = stand_in("x").replace("oid", &format!("ext-0-x sha256:{:064}\noid", 0));
    sandbox.write("data/extended.bin", extended);
    sandbox.write("src/crlf.bin", stand_in("x").replace('\n', "\r\n"));
    assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
}
