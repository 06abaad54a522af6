//! Processes that a signal kills or stops at any moment.

mod signals;
mod stall;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use ml_cache::format::Digest;
use serde_json::Value;

use crate::support::cli::{Run, Sandbox, assert_same, files_below, noise, read_json, snapshot};
use crate::support::moments::Moments;

const MIB: usize = 1 << 20;
const KILLS: usize = 10;

impl Sandbox {
    /// Writes a model of some 60 MiB in large and small files. Two versions share no blob.
    fn heavy_model(&self, version: u64) {
        let mut large = noise(1, 10 * MIB);
        for n in 0..5 {
            for at in [0, 9 * MIB] {
                large[at..at + 8].copy_from_slice(&(version * 1000 + n).to_le_bytes());
            }
            self.write(&format!("models/large/{n}.bin"), &large);
        }
        for n in 0..200 {
            self.write(&format!("models/small/{n}.bin"), noise(version * 1000 + n, 40_000));
        }
    }

    /// Starts a verb with its output in pipes, for [`Run::of`].
    fn begin(&self, verb: &str, more: &[&str]) -> Child {
        let mut command = self.command(Sandbox::arguments(verb, more));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Demands that everything that a pointer or a head leads to is stored.
    #[track_caller]
    fn every_visible_model_is_there(&self) {
        for pointer in self.pointers() {
            let hex = hex_of(&pointer["manifest"]["digest"]);
            let manifest =
                fs::read(self.store_dir().join(format!("v1/manifests/{hex}.json"))).unwrap();
            assert_eq!(Digest::of(&manifest).hex(), hex);
            let manifest: Value = serde_json::from_slice(&manifest).unwrap();
            for part in manifest["files"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|file| file["parts"].as_array().unwrap())
            {
                let hex = part["blob"].as_str().unwrap();
                assert!(
                    self.store_dir().join(format!("v1/blobs/{}/{hex}", &hex[..2])).exists(),
                    "{hex}"
                );
            }
            let inputs = hex_of(&pointer["inputs"]["digest"]);
            assert!(self.store_dir().join(format!("v1/inputs/{inputs}.zst")).exists());
        }
        for head in
            self.objects("v1").iter().filter(|path| path.parent().unwrap().ends_with("heads"))
        {
            let hex = hex_of(&read_json(head)["fingerprint"]).to_owned();
            let mut pointers = self.pointers().into_iter();
            assert!(
                pointers.any(|pointer| hex_of(&pointer["fingerprint"]) == hex),
                "the head leads to a pointer"
            );
        }
    }

    /// Demands that each stored blob is complete. `seen` lists blobs from earlier calls, which it
    /// skips.
    #[track_caller]
    fn every_blob_is_whole(&self, seen: &mut HashSet<PathBuf>) {
        for blob in self.objects("v1/blobs") {
            if !seen.contains(&blob) {
                assert_eq!(
                    Digest::of(&fs::read(&blob).unwrap()).hex(),
                    blob.file_name().unwrap().to_str().unwrap()
                );
                seen.insert(blob);
            }
        }
    }

    /// Returns the stages in the workspace. Normally there is none.
    fn stages(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.work()).unwrap().map(|entry| entry.unwrap().path());
        names
            .filter(|path| {
                path.file_name().unwrap().to_string_lossy().starts_with(".ml-cache-tmp-")
            })
            .collect()
    }
}

fn hex_of(digest: &Value) -> &str {
    digest.as_str().unwrap().strip_prefix("sha256:").unwrap()
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Makes files look two days old.
fn age(directory: &Path) {
    let then = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    for path in files_below(directory) {
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
}

#[test]
fn a_save_that_is_killed_shows_nothing_half_done() {
    let sandbox = Sandbox::with_project();
    sandbox.heavy_model(0);
    let longest = time(|| assert_eq!(sandbox.run("save", &[]).json()["saved"], true));
    let (mut version, mut seen) = (0, HashSet::new());
    let mut moments = Moments::within(longest, 0.0..1.0, KILLS);
    while moments.are_left() {
        version += 1;
        sandbox.write("data/a.csv", format!("version {version}"));
        sandbox.heavy_model(version);
        moments.kill_next(sandbox.begin("save", &[]));
        sandbox.every_visible_model_is_there();
        sandbox.every_blob_is_whole(&mut seen);
    }

    // The next command that opens the store removes the temporary files.
    age(&sandbox.store_dir().join("incoming"));
    sandbox.write("data/a.csv", "the last version");
    sandbox.heavy_model(99);
    let wanted = snapshot(&sandbox.path("models"));
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    sandbox.every_visible_model_is_there();
    sandbox.every_blob_is_whole(&mut seen);
    assert!(sandbox.objects("incoming").is_empty(), "{:?}", sandbox.objects("incoming"));
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_same(&snapshot(&sandbox.path("models")), &wanted, "afterwards");
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_tree_or_the_new_one() {
    let sandbox = Sandbox::with_project();
    let trees: Vec<Vec<String>> = (0..2)
        .map(|version| {
            sandbox.write("data/a.csv", format!("version {version}"));
            sandbox.heavy_model(version);
            assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
            snapshot(&sandbox.path("models"))
        })
        .collect();
    let restore = |version: usize| {
        sandbox.write("data/a.csv", format!("version {version}"));
        ["--data-paths", "data/**", "--training-paths", "src/**"]
    };
    let mut present = 1;
    let more = restore(0);
    let longest = time(|| assert_eq!(sandbox.run("restore", &more).json()["restored"], true));
    present -= 1;
    let mut moments = Moments::within(longest, 0.0..1.0, KILLS);
    while moments.are_left() {
        let wanted = 1 - present;
        let more = restore(wanted);
        let moment = moments.kill_next(sandbox.begin("restore", &more));
        let found = snapshot(&sandbox.path("models"));
        assert!(
            found == trees[present] || found == trees[wanted],
            "killed after {moment:?}, neither the old tree nor the new one"
        );

        assert_eq!(sandbox.run("restore", &more).json()["restored"], true);
        assert_same(
            &snapshot(&sandbox.path("models")),
            &trees[wanted],
            &format!("killed after {moment:?}, and restored"),
        );
        assert!(sandbox.stages().is_empty());
        present = wanted;
    }
}

#[test]
fn a_killed_first_restore_shows_all_files_or_none() {
    let sandbox = Sandbox::with_project();
    sandbox.heavy_model(0);
    sandbox.run("save", &[]).json();
    let tree = snapshot(&sandbox.path("models"));
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    let longest = time(|| assert_eq!(sandbox.run("restore", &[]).json()["restored"], true));
    let mut moments = Moments::within(longest, 0.0..1.0, KILLS);
    while moments.are_left() {
        fs::remove_dir_all(sandbox.path("models")).unwrap();
        let moment = moments.kill_next(sandbox.begin("restore", &[]));
        if sandbox.path("models").exists() {
            assert_same(
                &snapshot(&sandbox.path("models")),
                &tree,
                &format!("killed after {moment:?}"),
            );
        }
        // Every command removes abandoned stages, not only a restore.
        let _: Run = sandbox.run("plan", &[]);
        assert!(sandbox.stages().is_empty());
        assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
        assert_same(&snapshot(&sandbox.path("models")), &tree, "restored");
    }
}
