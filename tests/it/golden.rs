//! This version reads the documents and the store that version 0.1.0 wrote.
//!
//! tests/it/golden/README.md says how the files were made and why they never change.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ml_cache::format::{Head, InputsDocument, InputsId, Manifest, Pointer};

use crate::support::cli::{Sandbox, snapshot};

const ARGUMENTS: &[&str] = &["--json", "--namespace", "org/my repo", "--model", "fraud detector ü"];
const INPUTS: &[&str] = &[
    "--data-paths=data/**",
    "--training-paths=src/**",
    "--extra-key=torch=2.4\nseed=",
    "--model-path=models/",
];

/// Returns the directory of each version of the formats, in order.
fn directories() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let entries = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let mut versions: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    versions.sort();
    assert!(versions[0].ends_with("v1"), "{versions:?}");
    versions
}

/// Returns the versions that have a whole store. The versions 2 and 3 only change the
/// pointer, so they have none.
fn versions() -> Vec<PathBuf> {
    directories().into_iter().filter(|path| path.join("store").is_dir()).collect()
}

#[test]
fn pointers_of_every_version_are_read_and_written_unchanged() {
    let directories = directories();
    assert_eq!(directories.len(), 3);
    for directory in directories {
        let stored = fs::read(directory.join("pointer.json")).unwrap();
        assert_eq!(
            Pointer::parse(&stored).unwrap().to_bytes().unwrap(),
            stored,
            "{}",
            directory.display()
        );
    }
}

fn arguments(verb: &str, more: &[&str]) -> Vec<String> {
    [verb].iter().chain(ARGUMENTS).chain(more).map(|argument| (*argument).to_owned()).collect()
}

/// Recreates the workspace of the golden store, with its last model.
fn workspace(sandbox: &Sandbox) {
    sandbox.write("data/2024 jan.csv", "id,amount\n1,10\n");
    sandbox.write("data/new\nline\\.csv", "");
    let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let stand_in =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
    sandbox.write("data/images.bin", stand_in);
    sandbox.write("src/train.py", "print('training')\n");
    sandbox.write("src/__pycache__/train.pyc", "never counts");

    sandbox.write("models/model.bin", b"weights of the second generation".repeat(100));
    sandbox.write("models/run.sh", "#!/bin/sh\n");
    fs::set_permissions(sandbox.path("models/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("models/empty", "");
    sandbox.write("models/vocabulary/ü 日本.txt", "a\nb\n");
    symlink("model.bin", sandbox.path("models/latest")).unwrap();
    symlink("../models/vocabulary", sandbox.path("models/words")).unwrap();
    fs::create_dir(sandbox.path("models/cache")).unwrap();
}

/// A sandbox with a copy of the golden store, because a command may write to its store.
fn golden_store(version: &Path) -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&version.join("store"), &sandbox.store_dir());
    sandbox
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Returns the keys of the objects below a directory of a store, sorted.
fn keys(store: &Path, below: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(store.join(below)).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            keys.extend(self::keys(store, &key));
        } else {
            keys.push(key);
        }
    }
    keys.sort();
    keys
}

#[test]
fn documents_of_every_version_are_read() {
    for version in versions() {
        let read = |name: &str| fs::read(version.join(name)).unwrap();
        Head::parse(&read("head.json")).unwrap();
        let manifest = Manifest::parse(&read("manifest.json")).unwrap();
        assert!(
            manifest.files.iter().any(|file| file.parts.len() > 1),
            "one file has several parts"
        );
        let text = read("inputs.txt");
        let document =
            InputsDocument::parse(&read("inputs.zst"), &InputsId::of(&text), u64::MAX).unwrap();
        assert!(
            !document.data.is_empty()
                && !document.training.is_empty()
                && !document.extra.is_empty()
        );
    }
}

#[test]
fn documents_of_this_version_are_written_back_byte_for_byte() {
    let version = versions().pop().unwrap();
    let read = |name: &str| fs::read(version.join(name)).unwrap();
    let [head, manifest, text] = ["head.json", "manifest.json", "inputs.txt"].map(read);
    assert_eq!(Head::parse(&head).unwrap().to_bytes().unwrap(), head);
    assert_eq!(Manifest::parse(&manifest).unwrap().to_bytes().unwrap(), manifest);
    let document =
        InputsDocument::parse(&read("inputs.zst"), &InputsId::of(&text), u64::MAX).unwrap();
    assert_eq!(document.to_text().into_bytes(), text);
}

#[test]
fn a_model_of_every_version_is_restored() {
    for version in versions() {
        let expected = Sandbox::new();
        workspace(&expected);
        let sandbox = golden_store(&version);
        // Without a fingerprint the restore reads the head; with a fingerprint it reads only the
        // pointer.
        let output = sandbox.raw(arguments("restore", &[])).json();
        assert_eq!(output["pointer"]["generation"], 2, "{output}");
        assert_eq!(snapshot(&sandbox.path("models")), snapshot(&expected.path("models")));
        let fingerprint = output["fingerprint"].as_str().unwrap();
        fs::remove_dir_all(sandbox.path("models")).unwrap();
        sandbox.raw(arguments("restore", &["--fingerprint", fingerprint])).json();
        assert_eq!(snapshot(&sandbox.path("models")), snapshot(&expected.path("models")));
        assert_eq!(sandbox.raw(arguments("verify", &[])).json()["cache-hit"], true);
    }
}

#[test]
fn inputs_of_every_version_are_recognised_or_compared() {
    for version in versions() {
        let sandbox = golden_store(&version);
        workspace(&sandbox);
        let output = sandbox.raw(arguments("plan", &INPUTS[..3])).json();
        assert_eq!(
            output["reason"], "hit",
            "the same inputs have the same fingerprint forever: {output}"
        );
        sandbox.write("data/2024 jan.csv", "id,amount\n1,11\n");
        let output = sandbox.raw(arguments("plan", &INPUTS[..3])).json();
        assert_eq!(output["reason"], "data-changed", "{output}");
        assert_eq!(output["changes"][0]["path"], "data/2024 jan.csv", "{output}");
    }
}

#[test]
fn this_version_writes_the_same_store_again() {
    let golden = versions().pop().unwrap().join("store");
    let sandbox = Sandbox::new();
    workspace(&sandbox);
    let output =
        sandbox.raw(arguments("save", &[INPUTS, &["--lfs-stand-ins=allow"]].concat())).json();
    assert_eq!(output["saved"], true);
    let [_head, pointer] = keys(&golden, "v1/trusted").try_into().unwrap();
    let pointer = Pointer::parse(&fs::read(golden.join(pointer)).unwrap()).unwrap();
    assert_eq!(pointer.manifest.digest.to_string(), output["manifest-digest"]);
    assert_eq!(keys(&sandbox.store_dir(), "v1/trusted"), keys(&golden, "v1/trusted"));
    assert_eq!(keys(&sandbox.store_dir(), "v1/inputs"), keys(&golden, "v1/inputs"));
    // The golden store also has the first generation.
    for directory in ["v1/blobs", "v1/manifests"] {
        let (ours, theirs) = (keys(&sandbox.store_dir(), directory), keys(&golden, directory));
        assert!(
            ours.iter().all(|key| theirs.contains(key)),
            "{ours:?} are not all among {theirs:?}"
        );
        assert_eq!((ours.len(), theirs.len()), (1, 2));
    }
}
