//! Damaged objects of the store: a restore notices and names them, and changes nothing.

mod destination;
mod halves;
mod hostile;
mod owners;
mod registers;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cli::{Run, Sandbox, assert_same, noise, read_json, snapshot};

const MIB: usize = 1 << 20;

impl Sandbox {
    /// A stored model of two large files and a pack. The workspace holds other files in its place.
    fn with_old_tree() -> Self {
        let sandbox = Self::with_project();
        sandbox.model("new");
        assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
        sandbox.model("old");
        sandbox
    }

    fn model(&self, version: &str) {
        for name in ["a", "b"] {
            let seed = u64::from(name.as_bytes()[0])
                + version.len() as u64
                + u64::from(version.as_bytes()[0]);
            self.write(&format!("models/{name}.bin"), noise(seed, 5 * MIB));
        }
        self.write("models/config.json", format!("{{\"version\":\"{version}\"}}"));
        self.write("models/sub/labels.txt", version);
    }

    /// Returns the path of the only stored manifest.
    fn manifest(&self) -> PathBuf {
        self.objects("v1/manifests").remove(0)
    }

    /// Returns the path of the blob with the first bytes of a model's file.
    fn blob_of(&self, path: &str) -> PathBuf {
        let manifest = read_json(&self.manifest());
        let file =
            manifest["files"].as_array().unwrap().iter().find(|file| file["path"] == path).unwrap();
        let hex = file["parts"][0]["blob"].as_str().unwrap();
        self.store_dir().join(format!("v1/blobs/{}/{hex}", &hex[..2]))
    }

    /// Restores, and demands that nothing in the workspace changes.
    #[track_caller]
    fn restore_leaves_all_as_it_was(&self) -> Run {
        let before = snapshot(&self.work());
        let run = self.run("restore", &[]);
        assert_eq!(snapshot(&self.work()), before, "{}", run.stderr);
        run
    }

    /// Demands that a restore notices this damage and names the object.
    #[track_caller]
    fn notices(&self, object: &Path, damage: Damage) {
        let good = fs::read(object).unwrap();
        fs::write(object, damage(good.clone())).unwrap();
        let name = object.file_name().unwrap().to_str().unwrap();
        self.restore_leaves_all_as_it_was().fails(4, &[name, "hint:"]);
        fs::write(object, good).unwrap();
    }
}

type Damage = fn(Vec<u8>) -> Vec<u8>;

fn flip_middle(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

fn flip_last(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().unwrap() ^= 0x80;
    bytes
}

fn truncate(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.pop();
    bytes
}

fn extend(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

fn empty(_: Vec<u8>) -> Vec<u8> {
    Vec::new()
}

#[test]
fn flipped_bits_in_a_blob_are_noticed() {
    let sandbox = Sandbox::with_old_tree();
    for path in ["models/a.bin", "models/config.json"] {
        for damage in [flip_middle, flip_last] {
            sandbox.notices(&sandbox.blob_of(path), damage);
        }
    }
    assert_eq!(
        sandbox.run("restore", &[]).json()["restored"],
        true,
        "the repaired object is good again"
    );
}

#[test]
fn a_blob_of_another_length_is_noticed() {
    let sandbox = Sandbox::with_old_tree();
    for path in ["models/a.bin", "models/config.json"] {
        for damage in [truncate, extend, empty] {
            sandbox.notices(&sandbox.blob_of(path), damage);
        }
    }
}

#[test]
fn a_blob_of_another_length_is_replaced_by_the_next_training() {
    for damage in [truncate, extend, empty] {
        let sandbox = Sandbox::with_old_tree();
        let blob = sandbox.blob_of("models/a.bin");
        fs::write(&blob, damage(fs::read(&blob).unwrap())).unwrap();
        assert_eq!(sandbox.run("plan", &[]).json()["reason"], "incomplete");
        sandbox.model("new");
        sandbox.run("save", &[]).json();
        let wanted = snapshot(&sandbox.path("models"));
        fs::remove_dir_all(sandbox.path("models")).unwrap();
        assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
        assert_same(&snapshot(&sandbox.path("models")), &wanted, "afterwards");
    }
}

#[test]
fn blobs_that_changed_places_are_noticed() {
    let sandbox = Sandbox::with_old_tree();
    let (a, b) = (sandbox.blob_of("models/a.bin"), sandbox.blob_of("models/b.bin"));
    let contents = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(&a, contents.1).unwrap();
    fs::write(&b, contents.0).unwrap();
    sandbox.restore_leaves_all_as_it_was().fails(4, &["v1/blobs/", "is damaged", "hint:"]);
    sandbox.run("verify", &[]).fails(4, &["2 objects are damaged"]);
}

#[test]
fn a_blob_that_is_gone_is_not_found() {
    let sandbox = Sandbox::with_old_tree();
    fs::remove_file(sandbox.blob_of("models/config.json")).unwrap();
    sandbox.restore_leaves_all_as_it_was().fails(3, &["missing or damaged objects: 1", "hint:"]);
    let missed = sandbox.run("restore", &["--fail-on-miss=false"]).json();
    assert_eq!(
        [&missed["reason"], &missed["restored"]],
        [&"incomplete".into(), &serde_json::Value::Bool(false)]
    );
    sandbox.run("verify", &[]).fails(4, &["the store has no such object"]);
}

#[test]
fn damage_in_a_manifest_is_noticed() {
    let sandbox = Sandbox::with_old_tree();
    for damage in [flip_middle, flip_last, truncate, extend, empty] {
        sandbox.notices(&sandbox.manifest(), damage);
    }
    let length = fs::metadata(sandbox.manifest()).unwrap().len() as usize;
    let good = fs::read(sandbox.manifest()).unwrap();
    for at in (0..length).step_by(61) {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(sandbox.manifest(), bytes).unwrap();
        sandbox.restore_leaves_all_as_it_was().fails(4, &["v1/manifests/"]);
    }
}

#[test]
fn the_manifest_of_another_model_is_noticed() {
    let sandbox = Sandbox::with_old_tree();
    let wanted = sandbox.manifest();
    sandbox.write("data/a.csv", "changed\n");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    let other = sandbox.objects("v1/manifests").into_iter().find(|path| *path != wanted).unwrap();
    fs::copy(other, &wanted).unwrap();
    sandbox.project();
    assert_eq!(
        sandbox.run("restore", &["--fail-on-miss=false"]).json()["restored"],
        true,
        "the other is whole"
    );
    let before = snapshot(&sandbox.work());
    let restore =
        sandbox.run("restore", &["--data-paths", "data/**", "--training-paths", "src/**"]);
    restore.fails(4, &["v1/manifests/", "damaged", "hint:"]);
    assert_same(&snapshot(&sandbox.work()), &before, "afterwards");
}

#[test]
fn every_verb_that_needs_a_damaged_manifest_refuses_it() {
    let sandbox = Sandbox::with_old_tree();
    fs::write(sandbox.manifest(), flip_middle(fs::read(sandbox.manifest()).unwrap())).unwrap();
    for verb in ["verify", "restore"] {
        sandbox.run(verb, &[]).fails(4, &["v1/manifests/"]);
    }
}
