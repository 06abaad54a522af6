//! Runs the examples of docs/formats.md exactly as the document has them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use ml_cache::format::Digest;

use super::repository;
use crate::support::cli::{Run, Sandbox};

/// Returns the fenced blocks of a section of docs/formats.md, without their fences.
fn blocks(document: &str, heading: &str) -> Vec<String> {
    let start = document
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("docs/formats.md has no {heading:?}"));
    let section = &document[start + heading.len() + 1..];
    let section = section.find("\n## ").map_or(section, |end| &section[..end]);
    section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap().1.to_owned() + "\n")
        .collect()
}

#[test]
fn the_worked_example_of_the_document_works() {
    let document = fs::read_to_string(repository("docs/formats.md")).unwrap();
    let blocks = blocks(&document, "### Worked example");
    let [setup, compute, output, data, training] = <[String; 5]>::try_from(blocks).unwrap();

    let sandbox = Sandbox::new();
    let script = format!("set -eu\n{setup}\n{compute}");
    let run = Run::of(
        Command::new("sh").args(["-c", &script]).current_dir(sandbox.work()).output().unwrap(),
    );
    assert_eq!((run.code, run.stdout.as_str()), (0, output.as_str()), "{}", run.stderr);
    let beside = |name: &str| fs::read_to_string(sandbox.work().with_file_name(name)).unwrap();
    assert_eq!(beside("data.list"), data);
    assert_eq!(beside("training.list"), training);

    sandbox.write("models/m.bin", "weights");
    let arguments = [
        "save",
        "--json",
        "--model",
        "m",
        "--data-paths",
        "data/training/**",
        "--training-paths",
        "src/train.py\nconfigs/*.yaml",
        "--extra-key",
        "torch=2.4\nseed=7",
        "--model-path",
        "models/",
        "--lfs-stand-ins",
        "allow",
    ];
    let saved = sandbox.raw(arguments).json();
    let stated: HashMap<&str, &str> = output
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| (name, hex.trim()))
        .collect();
    for (name, key) in
        [("data", "data-hash"), ("training", "training-hash"), ("fingerprint", "fingerprint")]
    {
        assert_eq!(saved[key], format!("sha256:{}", stated[name]), "{name}");
    }
    let inputs = &saved["pointer"]["inputs"];
    let sentence = format!(
        "has {} bytes and the digest `{}`",
        inputs["size"],
        inputs["digest"].as_str().unwrap()
    );
    let flowing = document.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flowing.contains(&sentence), "the document does not say that the text {sentence}");
}

#[test]
fn the_manifest_of_the_document_is_what_a_save_writes() {
    let document = fs::read_to_string(repository("docs/formats.md")).unwrap();
    let blocks = blocks(&document, "## Manifest");
    let stated = blocks.iter().find(|block| block.contains("models/latest")).unwrap().trim_end();

    let sandbox = Sandbox::with_project();
    sandbox.write("models/model.bin", "weights\n");
    sandbox.write("models/run.sh", "#!/bin/sh\n");
    sandbox.write("models/empty", "");
    fs::set_permissions(sandbox.path("models/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("model.bin", sandbox.path("models/latest")).unwrap();
    fs::create_dir(sandbox.path("models/cache")).unwrap();
    let saved = sandbox.run("save", &[]).json();
    let digest: Digest = saved["manifest-digest"].as_str().unwrap().parse().unwrap();
    let stored =
        fs::read_to_string(sandbox.store_dir().join(format!("v1/manifests/{}.json", digest.hex())))
            .unwrap();
    assert_eq!(stored, stated);
    assert!(document.contains(&format!("gives these {} bytes", stored.len())));
    assert!(document.contains(&format!("with the digest `{digest}`")));
}
