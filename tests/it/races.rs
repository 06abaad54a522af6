//! Many processes at once on one store, and on one destination.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::cli::{Run, Sandbox, assert_same, files_below, noise, read_json, snapshot};
use crate::support::s3::Endpoint;

const RUNNERS: usize = 16;

/// A store that several workspaces use.
enum Shared {
    Directory(TempDir),
    Bucket(Endpoint, String),
}

impl Shared {
    fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    fn bucket() -> Self {
        let endpoint = Endpoint::seaweedfs();
        let bucket = endpoint.fresh_bucket();
        Self::Bucket(endpoint, bucket)
    }

    /// A new project with this store.
    fn workspace(&self) -> Sandbox {
        let sandbox = match self {
            Self::Directory(place) => {
                Sandbox::with_store(&format!("file://{}", place.path().display()))
            }
            Self::Bucket(endpoint, bucket) => {
                let mut sandbox = Sandbox::with_store(&format!("s3://{bucket}/cache"));
                for (name, value) in endpoint.env() {
                    sandbox.env(name, value);
                }
                sandbox
            }
        };
        sandbox.project();
        sandbox
    }

    /// Workspaces with the same inputs, each with its own model.
    fn rivals(&self) -> Vec<Sandbox> {
        let rival = |n| {
            let sandbox = self.workspace();
            sandbox.write("models/model.bin", format!("trained by {n}"));
            sandbox.write("models/large.bin", noise(n, (4 << 20) + 1));
            sandbox
        };
        (0..RUNNERS as u64).map(rival).collect()
    }

    /// Returns the objects whose key contains the text, as JSON.
    fn documents(&self, part: &str) -> Vec<Value> {
        match self {
            Self::Directory(place) => {
                let files = files_below(&place.path().join("v1"));
                files
                    .iter()
                    .filter(|path| path.to_string_lossy().contains(part))
                    .map(|path| read_json(path))
                    .collect()
            }
            Self::Bucket(endpoint, bucket) => {
                let keys = String::from_utf8(endpoint.script(&["ls", bucket, "cache/v1/trusted/"]))
                    .unwrap();
                let read =
                    |key| serde_json::from_slice(&endpoint.script(&["cat", bucket, key])).unwrap();
                keys.lines().filter(|key| key.contains(part)).map(read).collect()
            }
        }
    }

    fn only_pointer(&self) -> Value {
        let mut pointers = self.documents("/pointers/");
        assert_eq!(pointers.len(), 1, "{pointers:?}");
        pointers.remove(0)
    }
}

/// Runs a verb in all workspaces at once. Every run must succeed.
fn all_at_once(sandboxes: &[Sandbox], verb: &str, more: &[&str]) -> Vec<Value> {
    let begin = |sandbox: &Sandbox| {
        let mut command = sandbox.command(Sandbox::arguments(verb, more));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = sandboxes.iter().map(begin).collect();
    let runs: Vec<Run> =
        children.into_iter().map(|child| Run::of(child.wait_with_output().unwrap())).collect();
    runs.iter().map(Run::json).collect()
}

fn generation_of(pointer: &Value) -> (u64, String) {
    let digest = pointer["manifest"]["digest"].as_str().or(pointer["manifest"].as_str());
    (pointer["generation"].as_u64().unwrap(), digest.unwrap().to_owned())
}

fn first_save_wins(shared: &Shared) {
    let rivals = shared.rivals();
    let outputs = all_at_once(&rivals, "save", &["--namespace", "org/race"]);
    let stored = shared.only_pointer();
    assert_eq!(stored["generation"], 1);
    for output in &outputs {
        assert_eq!(output["pointer"], stored, "everybody uses the winner's model");
        assert_eq!(output["cache-hit"], true);
    }
    let winners: Vec<usize> = (0..RUNNERS).filter(|n| outputs[*n]["saved"] == true).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");

    let reader = shared.workspace();
    reader.run("restore", &["--namespace", "org/race"]).json();
    assert_eq!(snapshot(&reader.path("models")), snapshot(&rivals[winners[0]].path("models")));
    let heads = shared.documents("/heads/");
    assert_eq!((heads.len(), &heads[0]["manifest"]), (1, &stored["manifest"]["digest"]));
}

#[test]
fn of_many_saves_the_first_wins_in_a_directory() {
    first_save_wins(&Shared::directory());
}

#[test]
fn of_many_saves_the_first_wins_in_a_bucket() {
    first_save_wins(&Shared::bucket());
}

fn forced_saves_follow_one_another(shared: &Shared) {
    let rivals = shared.rivals();
    assert_eq!(rivals[0].run("save", &["--namespace", "org/race"]).json()["saved"], true);
    let outputs = all_at_once(&rivals, "save", &["--namespace", "org/race", "--force-retrain"]);
    let stored = shared.only_pointer();
    let mut history = vec![generation_of(&stored)];
    history.extend(stored["previous"].as_array().unwrap().iter().map(generation_of));
    let generations: Vec<u64> = history.iter().map(|(generation, _)| *generation).collect();
    let newest = generations[0];
    assert_eq!(generations, (1..=newest).rev().collect::<Vec<_>>(), "no generation is lost");

    let mut saved: Vec<u64> = Vec::new();
    for output in &outputs {
        let (generation, manifest) = generation_of(&output["pointer"]);
        assert!(history.contains(&(generation, manifest)), "{output} is not in {history:?}");
        if output["saved"] == true {
            saved.push(generation);
        }
    }
    saved.sort_unstable();
    assert_eq!(saved, (2..=newest).collect::<Vec<_>>(), "every generation has one writer");
    assert!(newest >= 2);
}

#[test]
fn forced_saves_follow_one_another_in_a_directory() {
    forced_saves_follow_one_another(&Shared::directory());
}

#[test]
fn forced_saves_follow_one_another_in_a_bucket() {
    forced_saves_follow_one_another(&Shared::bucket());
}

fn models_that_share_blobs(shared: &Shared) {
    let different = |n| {
        let sandbox = shared.workspace();
        sandbox.write("data/a.csv", format!("data of {n}"));
        sandbox.write("models/base.bin", noise(1, 5 << 20));
        sandbox.write("models/head.bin", format!("trained by {n}"));
        sandbox
    };
    let sandboxes: Vec<Sandbox> = (0..8).map(different).collect();
    let outputs = all_at_once(&sandboxes, "save", &["--namespace", "org/race"]);
    assert!(outputs.iter().all(|output| output["saved"] == true), "{outputs:?}");
    assert_eq!(shared.documents("/pointers/").len(), 8);
    for (sandbox, output) in sandboxes.iter().zip(&outputs) {
        let wanted = snapshot(&sandbox.path("models"));
        fs::remove_dir_all(sandbox.path("models")).unwrap();
        let fingerprint = output["fingerprint"].as_str().unwrap();
        sandbox.run("restore", &["--namespace", "org/race", "--fingerprint", fingerprint]).json();
        assert_same(&snapshot(&sandbox.path("models")), &wanted, "afterwards");
    }
}

#[test]
fn models_that_share_blobs_are_saved_at_once_in_a_directory() {
    let shared = Shared::directory();
    models_that_share_blobs(&shared);
    let Shared::Directory(place) = &shared else { return };
    assert_eq!(
        files_below(&place.path().join("v1/blobs")).len(),
        9,
        "the shared file and one pack each"
    );
    assert!(files_below(&place.path().join("incoming")).is_empty());
}

#[test]
fn models_that_share_blobs_are_saved_at_once_in_a_bucket() {
    models_that_share_blobs(&Shared::bucket());
}

/// Four processes restore into one place, by turns without a tree and over an old tree.
#[test]
fn restores_into_one_destination_end_with_the_right_tree() {
    let sandbox = Sandbox::with_project();
    for n in 0..120 {
        sandbox.write(&format!("models/{}/{n}.bin", n % 7), noise(n, 2000));
    }
    sandbox.write("models/large.bin", noise(500, 9 << 20));
    sandbox.run("save", &[]).json();
    let wanted = snapshot(&sandbox.path("models"));
    for round in 0..6 {
        match round % 2 {
            0 => fs::remove_dir_all(sandbox.path("models")).unwrap(),
            _ => files_below(&sandbox.path("models"))
                .iter()
                .for_each(|path| fs::write(path, "old").unwrap()),
        }
        let begin = |_| {
            let mut command = sandbox.command(Sandbox::arguments("restore", &[]));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..4).map(begin).collect();
        for child in children {
            let run = Run::of(child.wait_with_output().unwrap());
            assert_eq!(run.json()["restored"], true);
        }
        assert_same(&snapshot(&sandbox.path("models")), &wanted, &format!("round {round}"));
        let names: Vec<_> =
            fs::read_dir(sandbox.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "data, src and models: {names:?}");
    }
}
