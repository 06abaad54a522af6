//! Models of so many files that the store keeps their manifest compressed.

use std::fs;
use std::path::PathBuf;

use super::Sandbox;
use crate::support::cli::snapshot;

const FILES: usize = 8000;

/// A project whose model of many files is stored.
fn stored() -> Sandbox {
    let sandbox = Sandbox::with_project();
    for number in 0..FILES {
        sandbox.write(&format!("models/part-{}/{number:08}.json", number % 8), "{}");
    }
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    sandbox
}

impl Sandbox {
    fn only_manifest(&self) -> PathBuf {
        let [manifest] = self.objects("v1/manifests").try_into().unwrap();
        manifest
    }
}

#[test]
fn a_large_manifest_is_stored_compressed() {
    let sandbox = stored();
    let path = sandbox.only_manifest();
    let hex = path.file_name().unwrap().to_str().unwrap().strip_suffix(".json.zst").unwrap();
    let stored = fs::read(&path).unwrap();
    let plain = zstd::stream::decode_all(stored.as_slice()).unwrap();
    assert!(plain.len() > 1 << 20 && stored.len() < plain.len() / 4, "{}", stored.len());
    assert_eq!(ml_cache::format::Digest::of(&plain).hex(), hex);
    assert_eq!(sandbox.pointers()[0]["manifest"]["size"], plain.len());

    let before = snapshot(&sandbox.path("models"));
    sandbox.forget_model();
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit");
    sandbox.run("verify", &[]).json();
    assert_eq!(sandbox.run("restore", &[]).json()["model-files"], FILES);
    assert_eq!(snapshot(&sandbox.path("models")), before);
    let again = sandbox.run("save", &[]);
    assert_eq!(again.json()["saved"], false);

    // The store's pointer has only the digest of an earlier generation, and no size.
    let pointer = format!("{}", sandbox.pointers()[0]);
    fs::write(sandbox.path("pointer.json"), pointer).unwrap();
    sandbox.write("models/part-0/new.json", "{}");
    assert_eq!(sandbox.run("save", &["--force-retrain"]).json()["pointer"]["generation"], 2);
    let named = sandbox.run("restore", &["--pointer", "pointer.json"]);
    assert_eq!(named.json()["model-files"], FILES);
}

#[test]
fn a_large_manifest_of_an_earlier_version_is_read() {
    let sandbox = stored();
    let path = sandbox.only_manifest();
    let plain = zstd::stream::decode_all(fs::read(&path).unwrap().as_slice()).unwrap();
    fs::write(path.with_extension(""), plain).unwrap();
    fs::remove_file(path).unwrap();
    sandbox.forget_model();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
}

#[test]
fn a_damaged_compressed_manifest_is_refused_and_repaired() {
    let sandbox = stored();
    let path = sandbox.only_manifest();
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    let other = zstd::bulk::compress(b"{}", 3).unwrap();
    for damaged in [&good[..good.len() / 2], &flipped, b"", &other] {
        fs::write(&path, damaged).unwrap();
        sandbox.run("restore", &[]).fails(4, &[".json.zst", "hint:"]);
        assert_eq!(sandbox.run("plan", &[]).json()["reason"], "incomplete");
    }
    // Other inputs with the same model: their save looks at the object before it counts on it.
    sandbox.write("data/a.csv", "changed\n");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    assert!(fs::read(&path).unwrap() == good);
    sandbox.forget_model();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    // Another version of the compressor makes other bytes, which stay.
    let plain = zstd::stream::decode_all(good.as_slice()).unwrap();
    let other = zstd::bulk::compress(&plain, 1).unwrap();
    assert!(other != good);
    fs::write(&path, &other).unwrap();
    sandbox.write("data/a.csv", "changed again\n");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    assert!(fs::read(&path).unwrap() == other);
}
