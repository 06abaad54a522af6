//! Trainings that would be in vain do not start; trainings that may be are warned of.

use std::fs;
use std::os::unix::fs::symlink;

use super::Sandbox;
use crate::support::cli::Run;

/// The patterns of a job: data, training code and model.
struct Job {
    data: &'static str,
    training: &'static str,
    model: &'static str,
}

const fn job(data: &'static str, training: &'static str, model: &'static str) -> Job {
    Job { data, training, model }
}

const WARNING: &str = "the save will refuse the model if the training changes these inputs";

impl Job {
    fn run(&self, sandbox: &Sandbox, verb: &str, more: &[&str]) -> Run {
        let mut arguments = vec![verb, "--json", "--model", "fraud", "--data-paths", self.data];
        arguments.extend(["--training-paths", self.training, "--model-path", self.model]);
        arguments.extend(more);
        sandbox.raw(arguments)
    }

    fn train(&self, sandbox: &Sandbox, script: &str, more: &[&str]) -> Run {
        self.run(sandbox, "run", &[more, &["--", "sh", "-c", script]].concat())
    }
}

#[test]
fn a_training_into_its_own_inputs_is_refused_before_it_starts() {
    for (files, job, line) in [
        (
            &[][..],
            job("**", "src/**", "models/"),
            "`models/` of `model-path`: `data-paths` selects",
        ),
        (&[], job("data/**", "**\n!data", "models"), "`models` of `model-path`: `training-paths`"),
        (&[], job("data/**", "src/**", "data/model.bin"), "`data/model.bin` of `model-path`"),
        (&[], job("data/**", "src/**", "reports/\nsrc/out/"), "`src/out/` of `model-path`"),
        (&["models/.gitkeep"], job("**", "src/**", "models/"), "`models/` of `model-path`"),
        (&["src/w.bin"], job("data/**", "src/**", "src/w.bin"), "`src/w.bin` of `model-path`"),
    ] {
        let sandbox = Sandbox::with_project();
        files.iter().for_each(|file| sandbox.write(file, "old"));
        let needles = ["the training would be in vain", line, "hint: exclude these files"];
        job.train(&sandbox, "touch ran", &[]).fails(2, &needles);
        job.run(&sandbox, "plan", &[]).fails(2, &needles);
        assert!(!sandbox.path("ran").exists() && !sandbox.store_dir().exists(), "{line}");
    }
}

#[test]
fn a_store_that_a_link_brings_among_the_inputs_is_refused() {
    for (link, to, store, key) in [
        ("data/ln", "../real", "real/store", "data/ln/store/v1/blobs/"),
        ("data/ln", "../real/store", "real/store", "data/ln/v1/blobs/"),
        ("data/ln", "../other", "real/store", "data/ln/in/store/v1/blobs/"),
    ] {
        let sandbox = Sandbox::with_project();
        sandbox.write("real/info.txt", "");
        fs::create_dir_all(sandbox.path("real/store")).unwrap();
        sandbox.write("other/info.txt", "");
        symlink("../real", sandbox.path("other/in")).unwrap();
        symlink(to, sandbox.path(link)).unwrap();
        let location = format!("file://{}", sandbox.path(store).display());
        let more = ["--store", &location];
        let needles = ["`store`: `data-paths` selects the objects that a save writes", key];
        job("data/**", "src/**", "models/").train(&sandbox, "touch ran", &more).fails(2, &needles);
        assert!(!sandbox.path("ran").exists());
        // Without the link among the inputs, this store is none of them.
        let script = "mkdir -p models; echo weights > models/model.bin";
        let run = job("data/**\n!data/ln", "src/**", "models/").train(&sandbox, script, &more);
        assert_eq!(run.json()["saved"], true, "{}", run.stderr);
    }
}

#[test]
fn a_store_among_the_inputs_is_refused() {
    for (data, store, key) in [
        ("data/**", "data/store", "data/store/v1/blobs/"),
        ("**\n!models/**", "cache", "cache/v1/blobs/"),
        ("data/**/*.json\ndata/a.csv", "data/store", "data/store/v1/manifests/"),
    ] {
        let sandbox = Sandbox::with_project();
        sandbox.write("data/info.json", "{}");
        let location = format!("file://{}", sandbox.path(store).display());
        let job = job(data, "src/**", "models/");
        let more = ["--store", &location];
        let needles = ["`store`: `data-paths` selects the objects that a save writes", key];
        job.train(&sandbox, "touch ran", &more).fails(2, &needles);
        job.run(&sandbox, "plan", &more).fails(2, &needles);
        assert!(!sandbox.path("ran").exists() && !sandbox.path(store).exists());
        // A store beside the inputs is the usual store of a job without a bucket.
        let beside = format!("file://{}", sandbox.path("store").display());
        let job = Job { data: "data/**", ..job };
        let script = "mkdir -p models; echo weights > models/model.bin";
        let run = job.train(&sandbox, script, &["--store", &beside]);
        assert_eq!(run.json()["saved"], true);
    }
}

#[test]
fn a_model_that_holds_its_own_inputs_is_refused_everywhere() {
    for (file, narrow, wide, told) in [
        (
            "models/README.md",
            job("**/*.md\ndata/**", "src/**", "models/\n!**/*.md"),
            "models/",
            "`models/` of `model-path` takes inputs, too: `models/README.md`",
        ),
        (
            "models/tokenizer/vocab.txt",
            job("data/**", "src/**\nmodels/tokenizer/**", "models/model.bin"),
            "models/tokenizer/\nmodels/model.bin",
            "takes inputs, too: `models/tokenizer/vocab.txt`",
        ),
        (
            "src/conf.py",
            job("data/**", "src/**", "**\n!data\n!src"),
            "**\n!data\n!src/train.py",
            "`**` of `model-path` takes inputs, too: `src/conf.py`",
        ),
    ] {
        let sandbox = Sandbox::with_project();
        sandbox.write(file, "text");
        let wide = Job { model: wide, ..narrow };
        let needles = ["a model must not hold inputs of its training", told, "hint: exclude"];
        wide.train(&sandbox, "touch ran", &[]).fails(2, &needles);
        wide.run(&sandbox, "plan", &[]).fails(2, &needles);
        sandbox.write("models/model.bin", "weights");
        wide.run(&sandbox, "save", &[]).fails(2, &needles);
        assert!(!sandbox.path("ran").exists() && !sandbox.store_dir().exists());
        // Once the store has a model of these inputs, the same holds for a hit.
        let script = "mkdir -p models; echo weights > models/model.bin";
        assert_eq!(narrow.train(&sandbox, script, &[]).json()["saved"], true);
        wide.train(&sandbox, "touch ran", &[]).fails(2, &needles);
        wide.run(&sandbox, "plan", &[]).fails(2, &needles);
        assert_eq!(narrow.train(&sandbox, "exit 9", &[]).json()["restored"], true);
    }
}

#[test]
fn inputs_behind_links_are_seen() {
    let linked = |link: &str, target: &str| {
        let sandbox = Sandbox::with_project();
        std::fs::create_dir_all(sandbox.path("models/sub")).unwrap();
        std::os::unix::fs::symlink(target, sandbox.path(link)).unwrap();
        sandbox
    };
    let usual = job("data/**", "src/**", "models/");
    // An input is a file of the model under another name.
    for (link, target, before) in [
        ("data/out", "../models", "the training would be in vain"),
        ("data/out", "../models/sub", "a model must not hold inputs"),
        ("data/c.csv", "../models/sub/c.csv", "a model must not hold inputs"),
    ] {
        let sandbox = linked(link, target);
        sandbox.write("models/sub/c.csv", "1");
        let told = ["a model must not hold inputs of its training", "takes inputs, too: `data/"];
        usual.train(&sandbox, "touch ran", &[]).fails(2, &[before]);
        usual.run(&sandbox, "save", &[]).fails(2, &told);
        assert!(!sandbox.path("ran").exists());
    }
    // The files that the training writes will be inputs under another name.
    let sandbox = linked("data/out", "../models");
    let told = ["the training would be in vain", "`models/` of `model-path`: `data-paths` selects"];
    usual.train(&sandbox, "touch ran", &[]).fails(2, &told);
    let sandbox = linked("data/out", "../models/sub");
    let script = "echo weights > models/model.bin";
    let run = usual.train(&sandbox, script, &[]);
    assert_eq!(run.json()["saved"], true);
    assert!(run.stderr.contains("new files there, behind the link `data/out`"), "{}", run.stderr);
    // A link to other files means nothing.
    let sandbox = linked("data/out", "../src");
    let run = usual.train(&sandbox, script, &[]);
    assert_eq!(run.json()["saved"], true);
    assert!(!run.stderr.contains(WARNING), "{}", run.stderr);
}

#[test]
fn inputs_that_the_training_may_change_are_a_warning() {
    for (files, job, line) in [
        (
            &[][..],
            job("**\n!**/*.bin", "src/**", "models/"),
            "`models/` of `model-path`: `data-paths` selects new files there",
        ),
        (
            &["data/raw.dvc"],
            job("data/**", "src/**", "models/"),
            "their data, which is not there yet: `data/raw`",
        ),
        (
            &["data/.cache/x", "src/wandb/run-1/log"],
            job("data/**", "src/**", "models/"),
            "`training-paths` selects a cache: `src/wandb/run-1/log`",
        ),
    ] {
        let sandbox = Sandbox::with_project();
        files.iter().for_each(|file| sandbox.write(file, "text"));
        let script = "mkdir -p models; echo weights > models/model.bin";
        let run = job.train(&sandbox, script, &[]);
        assert_eq!(run.json()["saved"], true);
        assert!(run.stderr.contains(WARNING) && run.stderr.contains(line), "{}", run.stderr);
        let hit = job.train(&sandbox, "exit 9", &[]);
        assert_eq!(hit.json()["restored"], true);
        assert!(!hit.stderr.contains(WARNING), "a hit trains nothing: {}", hit.stderr);
    }
}

#[test]
fn usual_jobs_train_without_a_warning() {
    for (files, job) in [
        (&[][..], job("data/**", "src/**", "models/")),
        (&[], job("data/**", "**\n!models/**", "models/")),
        (&[], job("data/**", "**\n!models", "models/model.bin")),
        (&[], job("data/**", "**/*.py", "models/")),
        (&["data/raw.dvc"], job("data/**/*.dvc", "src/**", "models/")),
        (&["data/raw.dvc", "data/raw/x"], job("data/**", "src/**", "models/")),
        (&["models/net.py"], job("data/**", "src/**\nmodels/*.py", "models/*.bin")),
        (&["models/config.yaml"], job("data/**", "src/**\nmodels/config.yaml", "models/model.bin")),
    ] {
        let sandbox = Sandbox::with_project();
        files.iter().for_each(|file| sandbox.write(file, "text"));
        let script = "mkdir -p models; echo weights > models/model.bin";
        let run = job.train(&sandbox, script, &[]);
        assert_eq!(run.json()["saved"], true);
        for warning in [WARNING, "would refuse"] {
            assert!(!run.stderr.contains(warning), "{}", run.stderr);
        }
    }
}

#[test]
fn files_that_a_save_refuses_are_told_before_the_training() {
    for (file, model, told) in [
        (".env", "**\n!data\n!src", "`.env` cannot be saved: it is a known credential file"),
        (".github/x.yml", ".\n!data\n!src", "`.github/x.yml` cannot be saved"),
    ] {
        let sandbox = Sandbox::with_project();
        sandbox.write(file, "x");
        let job = job("data/**", "src/**", model);
        let told = [told, "hint:", "it stopped before the training"];
        job.train(&sandbox, "touch ran", &[]).fails(2, &told);
        assert!(!sandbox.path("ran").exists());
        // The training may run in another workspace.
        let plan = job.run(&sandbox, "plan", &[]);
        plan.json();
        assert!(plan.stderr.contains("a save would refuse these files"), "{}", plan.stderr);
    }
    // A training may repair what it wrote the last time.
    let sandbox = Sandbox::with_project();
    std::fs::create_dir(sandbox.path("models")).unwrap();
    std::os::unix::fs::symlink("/nowhere", sandbox.path("models/latest")).unwrap();
    let script = "rm models/latest; echo weights > models/model.bin";
    let run = job("data/**", "src/**", "models/").train(&sandbox, script, &[]);
    assert_eq!(run.json()["saved"], true);
    assert!(run.stderr.contains("a save would refuse these files"), "{}", run.stderr);
}
