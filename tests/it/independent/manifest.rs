//! Compares manifests and blobs with tests/independent/manifest.py.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use ml_cache::format::Digest;

use super::python;
use crate::support::cli::Sandbox;

/// Writes a model with every kind of entry, and with files around every threshold of the blobs.
fn nasty_model(sandbox: &Sandbox) {
    const MIB: usize = 1 << 20;
    let bytes = |length: usize, seed: u8| -> Vec<u8> {
        (0..length).map(|at| (at as u8) ^ (at >> 9) as u8 ^ seed).collect()
    };
    for (name, length) in [
        ("four.bin", 4 * MIB),
        ("four and one.bin", 4 * MIB + 1),
        ("eight.bin", 8 * MIB),
        ("eight and one.bin", 8 * MIB + 1),
        ("eight again.bin", 8 * MIB),
        ("twenty.bin", 20 * MIB + 12345),
        ("packs/three.0", 3 * MIB),
        ("packs/three.1", 3 * MIB),
        ("packs/three.2", 3 * MIB),
        ("packs/two.0", 2 * MIB),
        ("packs/two.1", 2 * MIB),
        ("empty", 0),
        ("also empty", 0),
    ] {
        sandbox.write(&format!("models/{name}"), bytes(length, (length >> 4) as u8));
    }
    // These files suffice for several packs that end by the digest of a path.
    for number in 0..400_usize {
        sandbox.write(&format!("models/many/{number}.npy"), bytes(40_000 + number, number as u8));
    }
    for name in [
        "quo\"te",
        "back\\slash",
        "new\nline",
        "cr\r",
        "tab\t",
        "bell\u{7}",
        "\u{8}\u{c}",
        "del\u{7f}",
        "\u{2028}",
        "e\u{301}",
        "ü",
        "🎯",
        ".hidden",
        " ",
    ] {
        sandbox.write(&format!("models/names/{name}"), name);
    }
    for name in [".git/config", "many/.Git", ".ml-cache-tmp-0.npy", "many/.ml-cache-tmp-1/x"] {
        sandbox.write(&format!("models/{name}"), "left out");
    }
    for mode in [0o755, 0o744, 0o700, 0o655, 0o640, 0o600] {
        let name = format!("models/modes/{mode:o}");
        sandbox.write(&name, &name);
        fs::set_permissions(sandbox.path(&name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for directory in ["models/nothing", "models/outer/inner/innermost", "models/ space "] {
        fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    fs::create_dir_all(sandbox.path("models/links")).unwrap();
    for (target, name) in [
        ("../four.bin", "file"),
        ("../packs", "directory"),
        ("../../models/./packs//two.0", "around"),
        (".", "itself"),
        ("not there", "broken"),
        ("\u{e9}\n\"", "odd"),
    ] {
        symlink(target, sandbox.path(&format!("models/links/{name}"))).unwrap();
    }
}

#[test]
fn manifest_and_blobs_are_those_of_an_independent_program() {
    for paths in [
        &["models"][..],
        &[
            "models/many",
            "models/links",
            "models/outer/",
            "models/empty",
            "models/four.bin",
            "models/packs/",
        ],
    ] {
        let sandbox = Sandbox::with_project();
        nasty_model(&sandbox);
        let out = sandbox.work().with_file_name("manifest.json");
        let mut arguments = vec![
            format!("--workspace={}", sandbox.work().display()),
            format!("--out={}", out.display()),
        ];
        arguments.extend(paths.iter().map(|path| (*path).to_owned()));
        let theirs = python("manifest.py", &arguments).json();

        let mut arguments = vec!["save", "--json", "--model", "m", "--data-paths", "data/**"];
        let patterns = paths.join("\n");
        arguments.extend(["--model-path", &patterns]);
        let ours = sandbox.raw(arguments).json();
        assert_eq!(ours["manifest-digest"], theirs["manifest-digest"], "{paths:?}");
        assert_eq!(ours["model-files"], theirs["files"]);
        assert_eq!(ours["model-bytes"], theirs["bytes"]);

        let digest: Digest = theirs["manifest-digest"].as_str().unwrap().parse().unwrap();
        let stored =
            fs::read(sandbox.store_dir().join(format!("v1/manifests/{}.json", digest.hex())))
                .unwrap();
        assert!(
            stored == fs::read(out).unwrap(),
            "the manifests have one digest, so they must be one text"
        );
        let mut blobs: Vec<&str> =
            theirs["blobs"].as_array().unwrap().iter().map(|blob| blob.as_str().unwrap()).collect();
        blobs.sort_unstable();
        assert!(blobs.len() > 4, "{blobs:?}");
        assert_eq!(stored_blobs(&sandbox.store_dir()), blobs, "{paths:?}");
    }
}

/// Returns the sorted names of a store's blobs. Each name must be the digest of the blob's bytes.
fn stored_blobs(store: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for directory in fs::read_dir(store.join("v1/blobs")).unwrap() {
        for blob in fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = blob.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(Digest::of(&fs::read(&path).unwrap()).hex(), name);
            names.push(name);
        }
    }
    names.sort();
    names
}
