//! Restores without a training: the chosen model, the destination, and how little they fetch.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::Sandbox;
use crate::support::cli::{assert_same, noise, snapshot};

const MIB: usize = 1 << 20;

/// Saves a model of three large files and 300 small files.
fn large_model() -> Sandbox {
    let sandbox = Sandbox::with_project();
    for (name, size) in [("a", 20 * MIB), ("b", 9 * MIB), ("c", 4 * MIB + 1)] {
        sandbox.write(&format!("models/{name}.bin"), noise(size as u64, size));
    }
    for n in 0..300 {
        sandbox.write(&format!("models/small/{n}.bin"), noise(n, 1 + n as usize * 50));
    }
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    sandbox
}

#[test]
fn a_model_of_large_and_small_files_comes_back_whole() {
    let sandbox = large_model();
    let before = snapshot(&sandbox.path("models"));
    sandbox.forget_model();
    let restored = sandbox.run("restore", &[]);
    assert_eq!(restored.json()["model-files"], 303);
    assert!(restored.stderr.contains("(0 unchanged, fetched 303 files"), "{}", restored.stderr);
    assert_same(&snapshot(&sandbox.path("models")), &before, "afterwards");
    // Chunks: 20 MiB give three, 9 MiB two, 4 MiB and a byte one. The small files share packs.
    assert!(
        (7..=9).contains(&sandbox.objects("v1/blobs").len()),
        "{:?}",
        sandbox.objects("v1/blobs")
    );
}

#[test]
fn files_that_are_there_are_not_fetched() {
    let sandbox = large_model();
    let before = snapshot(&sandbox.path("models"));
    let again = sandbox.run("restore", &[]);
    assert_eq!(again.json()["restored"], true);
    assert!(again.stderr.contains("(303 unchanged, fetched 0 files, 0 B)"), "{}", again.stderr);

    let mut bytes = fs::read(sandbox.path("models/a.bin")).unwrap();
    bytes[MIB] ^= 1;
    sandbox.write("models/a.bin", bytes);
    let mended = sandbox.run("restore", &[]);
    assert!(mended.stderr.contains("(302 unchanged, fetched 1 file"), "{}", mended.stderr);
    assert_same(&snapshot(&sandbox.path("models")), &before, "afterwards");
}

#[test]
fn a_changed_mode_alone_is_mended_without_fetching() {
    let sandbox = Sandbox::trained();
    let before = snapshot(&sandbox.path("models"));
    let bits = |name: &str| fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o7777;
    // A group that shares the directory relies on its bits, so they stay.
    for (script, model, directory) in
        [(0o644, 0o755, 0o755), (0o4755, 0o2644, 0o2775), (0o6777, 0o1666, 0o1777)]
    {
        let odd = [("models/run.sh", script), ("models/model.bin", model), ("models", directory)];
        for (name, mode) in odd {
            fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mended = sandbox.run("restore", &[]);
        assert_eq!(mended.json()["restored"], true);
        assert!(mended.stderr.contains("(4 unchanged, fetched 0 files"), "{}", mended.stderr);
        assert_same(&snapshot(&sandbox.path("models")), &before, "afterwards");
        assert_eq!([bits("models/run.sh"), bits("models/model.bin")], [0o755, 0o644]);
        assert_eq!(bits("models"), directory);
    }
}

#[test]
fn a_changed_mode_of_a_file_in_a_cache_is_mended_by_a_new_file() {
    let sandbox = Sandbox::trained();
    let before = snapshot(&sandbox.path("models"));
    let cached = sandbox.work().parent().unwrap().join("cached");
    fs::hard_link(sandbox.path("models/model.bin"), &cached).unwrap();
    fs::set_permissions(&cached, fs::Permissions::from_mode(0o444)).unwrap();
    for fetched in [1, 0] {
        let mended = sandbox.run("restore", &[]);
        assert_eq!(mended.json()["restored"], true);
        let told = format!("fetched {fetched} file");
        assert!(mended.stderr.contains(&told), "{}", mended.stderr);
        assert_same(&snapshot(&sandbox.path("models")), &before, "afterwards");
        let bits = fs::metadata(&cached).unwrap().permissions().mode() & 0o7777;
        assert_eq!(bits, 0o444, "the mode in the cache");
    }
    // The same link with the right mode is an unchanged file.
    fs::remove_file(&cached).unwrap();
    fs::hard_link(sandbox.path("models/model.bin"), &cached).unwrap();
    let again = sandbox.run("restore", &[]);
    assert!(again.stderr.contains("fetched 0 files"), "{}", again.stderr);
}

#[test]
fn a_restore_keeps_files_that_are_not_the_models() {
    let sandbox = Sandbox::trained();
    sandbox.forget_model();
    sandbox.write("models/notes.txt", "mine");
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_eq!(sandbox.read("models/notes.txt"), "mine");
    assert_eq!(sandbox.read("models/model.bin"), "weights");
}

#[test]
fn a_restore_finds_its_model_in_three_ways() {
    let sandbox = Sandbox::trained();
    let first = sandbox.run("plan", &[]).json()["fingerprint"].as_str().unwrap().to_owned();
    sandbox.write("data/a.csv", "changed\n");
    sandbox.seed("second");
    assert_eq!(sandbox.train(&[], super::TRAIN).json()["saved"], true);
    let restored = |more: &[&str]| {
        sandbox.forget_model();
        assert_eq!(sandbox.run("restore", more).json()["reason"], "hit");
        sandbox.read("models/model.bin")
    };
    assert_eq!(restored(&[]), "second", "the latest of the ref");
    assert_eq!(restored(&["--fingerprint", &first]), "weights");
    sandbox.project();
    let patterns = ["--data-paths", "data/**", "--training-paths", "src/**"];
    assert_eq!(restored(&patterns), "weights", "that of the inputs");
}

#[test]
fn a_destination_takes_the_whole_tree() {
    let sandbox = Sandbox::trained();
    let wanted = snapshot(&sandbox.path("models"));
    let elsewhere = tempfile::tempdir().unwrap();
    let absolute = elsewhere.path().join("new/dir");
    for destination in ["served/v1", absolute.to_str().unwrap()] {
        sandbox.run("restore", &["--destination", destination]).json();
        assert_eq!(snapshot(&sandbox.work().join(destination).join("models")), wanted);
    }
    sandbox.run("restore", &["--destination", "../out"]).fails(2, &["destination", "`..`"]);
}

#[test]
fn a_missing_model_is_a_failure_unless_it_may_be_missing() {
    let sandbox = Sandbox::with_project();
    let unknown = format!("sha256:{}", "0".repeat(64));
    for more in [&[][..], &["--fingerprint", &unknown]] {
        sandbox.run("restore", more).fails(3, &["cannot restore `fraud`", "`trusted`", "hint:"]);
        sandbox.run("verify", more).fails(3, &["cannot verify `fraud`"]);
        let mut may_miss = more.to_vec();
        may_miss.push("--fail-on-miss=false");
        let missed = sandbox.run("restore", &may_miss).json();
        assert_eq!(
            [&missed["reason"], &missed["retrain-needed"]],
            [&json!("no-model"), &json!(true)]
        );
        assert_eq!([&missed["cache-hit"], &missed["restored"]], [false, false]);
    }
    sandbox.run("plan", &["--fail-on-miss"]).fails(3, &["there is no model to use"]);
}

#[test]
fn every_output_is_there_hit_or_miss() {
    let sandbox = Sandbox::with_training();
    let check = |outputs: &Value| {
        for name in ml_cache::report::outputs::all().map(|output| output.name) {
            let value =
                outputs.get(name).unwrap_or_else(|| panic!("{name} is missing in {outputs}"));
            if ["retrain-needed", "cache-hit", "restored", "saved"].contains(&name) {
                assert!(value.is_boolean(), "{name} is {value}");
            }
        }
        assert!(outputs["changes"].is_array());
        assert!(
            !outputs.to_string().contains(sandbox.store_dir().to_str().unwrap()),
            "the store is nobody's business"
        );
    };
    check(&sandbox.run("plan", &[]).json());
    check(&sandbox.run("restore", &["--fail-on-miss=false"]).json());
    check(&sandbox.train(&[], super::TRAIN).json());
    for verb in ["plan", "restore", "save", "verify"] {
        check(&sandbox.run(verb, &[]).json());
    }
}

#[test]
fn resolve_prints_the_pointer_alone() {
    let sandbox = Sandbox::trained();
    let printed = sandbox.raw(["resolve", "--model", "fraud"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    assert_eq!(vec![serde_json::from_str::<Value>(&printed.stdout).unwrap()], sandbox.pointers());
    assert_eq!(
        sandbox.run("resolve", &[]).json()["pointer"],
        sandbox.pointers()[0],
        "or among the outputs"
    );
    fs::write(sandbox.path("pointer.json"), printed.stdout).unwrap();
    assert_eq!(sandbox.run("restore", &["--pointer", "pointer.json"]).json()["restored"], true);
}

#[test]
fn verify_passes_and_names_what_is_damaged() {
    let sandbox = large_model();
    assert_eq!(sandbox.run("verify", &[]).json()["cache-hit"], true);
    let blobs = sandbox.objects("v1/blobs");
    for blob in &blobs[..2] {
        let mut bytes = fs::read(blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(blob, bytes).unwrap();
    }
    let names: Vec<&str> =
        blobs[..2].iter().map(|blob| blob.file_name().unwrap().to_str().unwrap()).collect();
    sandbox
        .run("verify", &[])
        .fails(4, &["2 objects are damaged", names[0], names[1], "models/", "hint:"]);
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit", "a plan does not read blobs");
}
