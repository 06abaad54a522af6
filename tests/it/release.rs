//! The commits of a release, and the walk from a commit to every name that it runs something by.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const IMAGE: &str = "ghcr.io/org/ml-cache-action";
const PIPELINE: &str = ".github/workflows/ml-pipeline.yml";
const DIGEST: &str = "sha256:3b2a6d2b0e2a4f0cbb7e1b7b0f4b8d9c3a1e5f7092d4c6b8a0e1f2d3c4b5a697";

/// A repository whose first commit has this repository's actions, workflows and manifests.
struct Copy(TempDir);

impl Copy {
    fn new() -> Copy {
        let copy = Copy(TempDir::new().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .args(["*.yml", "*.yaml", "Dockerfile", "scripts/release"])
            .current_dir(root)
            .output()
            .unwrap();
        for name in String::from_utf8(listed.stdout).unwrap().lines() {
            copy.write(name, &fs::read_to_string(root.join(name)).unwrap());
        }
        copy.git(&["init", "--quiet", "--initial-branch=main"]);
        copy.commit();
        copy
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let ran = Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@localhost")])
            .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@localhost")])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        if ran.status.success() { Ok(text(ran.stdout)) } else { Err(text(ran.stderr)) }
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.run("git", arguments).unwrap()
    }

    fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "a commit"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn release(&self, arguments: &[&str]) -> Result<String, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/release");
        self.run("python3", &[&[script], arguments].concat())
    }

    /// Makes the commits of a release, and returns the last.
    fn released(&self) -> String {
        self.release(&["commits", &format!("{IMAGE}@{DIGEST}")]).unwrap()
    }

    /// Returns what the walk says after a change of one file of a release.
    fn changed(&self, release: &str, name: &str, from: &str, to: &str) -> Result<String, String> {
        self.git(&["checkout", "--quiet", release]);
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from}");
        self.write(name, &text.replacen(from, to, 1));
        let commit = self.commit();
        self.release(&["names", &commit])
    }
}

#[test]
fn a_commit_of_a_release_reaches_no_name_that_can_move() {
    let copy = Copy::new();
    let built = copy.git(&["rev-parse", "HEAD"]);
    let faults = copy.release(&["names", "HEAD"]).unwrap_err();
    for (name, times) in [
        ("action.yml: docker://ghcr.io/org/ml-cache-action:", 5),
        ("ml-pipeline.yml: org/ml-cache-action/plan@v1", 1),
        ("ml-pipeline.yml: org/ml-cache-action/save@v1", 1),
        ("ml-pipeline.yml: org/ml-cache-action/restore@v1", 4),
    ] {
        assert_eq!(faults.matches(name).count(), times, "{name}: {faults}");
    }
    assert_eq!(faults.lines().count(), 12, "{faults}");

    let release = copy.released();
    assert_eq!(copy.release(&["names", &release]), Ok(String::new()));
    let expected = format!("commit={built}\ndigest={DIGEST}");
    assert_eq!(copy.release(&["check", &release, IMAGE]), Ok(expected));
    copy.git(&["checkout", "--quiet", &release]);
    let first = copy.git(&["rev-parse", "HEAD~1"]);
    assert_eq!(copy.read(PIPELINE).matches(&format!("@{first}")).count(), 6);
    let manifest = copy.read("examples/fraud-detection/k8s/production/stable.yaml");
    assert!(manifest.contains(&format!("image: {IMAGE}@{DIGEST}\n")), "{manifest}");
}

#[test]
fn every_kind_of_name_that_can_move_is_found() {
    let copy = Copy::new();
    let release = copy.released();
    let first = copy.git(&["rev-parse", "HEAD~1"]);
    // A commit that no commit of the release has behind it, as that of a fork.
    copy.git(&["checkout", "--quiet", "main"]);
    copy.write("stray", "");
    let stray = copy.commit();
    let own = format!("org/ml-cache-action/plan@{first}");
    let runs = "    runs-on: ${{ fromJSON(inputs.runner) }}\n";
    let with = |line: &str| format!("{runs}    {line}\n");
    let hex = "0123456789abcdef0123456789abcdef01234567";
    for to in [
        "org/ml-cache-action/plan@v1",
        "org/ml-cache-action/plan@main",
        "ORG/ml-cache-action/plan@v1.2.3",
        &own[..own.len() - 1],
        &format!("org/ml-cache-action/plan@{stray}"),
        &format!("Org/ML-cache-action/plan@{stray}"),
        &format!("org/ml-cache-action/absent@{first}"),
        "actions/checkout@v7",
        "./plan",
        "docker://alpine:3",
        "docker://alpine",
        "\"actions/checkout@v7\"",
        ">-\n          actions/checkout@v7",
        "# below\n          actions/checkout@v7",
        "${{ inputs.action }}",
    ] {
        let found = copy.changed(&release, PIPELINE, &own, to);
        assert!(found.is_err_and(|it| it.contains("names that can move")), "{to}");
    }
    let image = format!("docker://{IMAGE}@{DIGEST}");
    let syntax = "# syntax=docker/dockerfile:1\nFROM scratch";
    for (name, from, to) in [
        (PIPELINE, runs, &*with("container: node:24")),
        (PIPELINE, runs, &with("container: { image: node:24 }")),
        (PIPELINE, runs, &with("services: { a: { image: \"redis\" } }")),
        (PIPELINE, runs, &with("container: ${{ inputs.runner }}")),
        (PIPELINE, runs, &with("container:\n      node:24")),
        (PIPELINE, runs, &with("container: # below\n\n      \"node:24\"")),
        (PIPELINE, runs, &with("container:\n      image: node:24")),
        (PIPELINE, runs, &with("container: {\"image\":\"node:24\"}")),
        (PIPELINE, runs, &with("? container\n    : node:24")),
        (PIPELINE, runs, &with("services: { a: { ? image : redis } }")),
        (PIPELINE, runs, &with("services: { a: { image\n      : redis } }")),
        (PIPELINE, runs, &with("\"contain\\x65r\": node:24")),
        (PIPELINE, runs, &with("<<: { container: node@sha256 }")),
        (PIPELINE, "    steps:\n", "    steps:\n      - {\"uses\":\"a/b@v1\"}\n"),
        (PIPELINE, "    steps:\n", "    steps:\n      - ? uses\n        : a/b@v1\n"),
        (PIPELINE, "    steps:\n", "    steps: [uses: a/b@v1]\n    other:\n"),
        ("plan/action.yml", &image, "docker://ghcr.io/org/ml-cache-action"),
        ("save/action.yml", &image, &image[..image.len() - 1]),
        ("Dockerfile", "FROM scratch", "FROM debian:13"),
        ("Dockerfile", "FROM scratch", "FROM --platform=linux/amd64 debian AS base"),
        ("Dockerfile", "FROM scratch", "ARG BASE=scratch\nFROM ${BASE}"),
        ("Dockerfile", "FROM scratch", syntax),
        ("Dockerfile", "COPY rootfs/", "COPY --from=busybox:latest rootfs/"),
        ("Dockerfile", "COPY rootfs/ /", "ADD https://example.com/a /"),
    ] {
        let found = copy.changed(&release, name, from, to);
        assert!(found.is_err_and(|it| it.contains(name)), "{name}: {to}");
    }
    let built = format!("FROM debian@{DIGEST} AS base\nFROM base\nFROM scratch");
    for (name, from, to) in [
        (PIPELINE, &*own, "$/plan"),
        (PIPELINE, &own, &format!("somebody/else@{hex}")),
        (PIPELINE, runs, &with(&format!("container: node@{DIGEST}"))),
        (PIPELINE, runs, &with(&format!("container:\n      image: node@{DIGEST}"))),
        (PIPELINE, runs, &with(&format!("container: {{\"image\":\"node@{DIGEST}\"}}"))),
        ("plan/action.yml", &image, "../Dockerfile"),
        ("Dockerfile", "FROM scratch", &built),
    ] {
        assert_eq!(copy.changed(&release, name, from, to), Ok(String::new()), "{name}: {to}");
    }
}

#[test]
fn a_release_that_changes_anything_else_is_refused() {
    let copy = Copy::new();
    let release = copy.released();
    let other = DIGEST.replace("3b2a", "3b2b");
    for (name, from, to) in [
        ("plan/action.yml", DIGEST, &*other),
        ("save/action.yml", "ml-cache-save", "ml-cache-plan"),
        (PIPELINE, "permissions: {}", "permissions: write-all"),
        ("scripts/release", "import re", "import re # other"),
    ] {
        let _ = copy.changed(&release, name, from, to);
        copy.git(&["reset", "--quiet", "--soft", &format!("{release}~1")]);
        let changed = copy.commit();
        assert!(copy.release(&["check", &changed, IMAGE]).is_err(), "{name}: {to}");
    }
    copy.git(&["checkout", "--quiet", &release]);
    assert!(copy.release(&["check", "HEAD~1", IMAGE]).is_err());
    assert!(copy.release(&["commits", &format!("{IMAGE}@{DIGEST}")]).is_err());
    copy.write("untracked", "");
    assert!(copy.release(&["commits", &format!("{IMAGE}@{other}")]).is_err());
}

#[test]
fn a_reviewer_comes_before_a_push_and_the_digest_from_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflow = fs::read_to_string(root.join(".github/workflows/release.yml")).unwrap();
    let (_, build) = workflow.split_once("\n  build:\n").unwrap();
    let (build, publish) = build.split_once("\n  publish-image:\n").unwrap();
    assert!(build.contains("\n    environment: release\n"), "nothing is pushed before");
    assert!(publish.starts_with("    name: Publish and attest the image\n    needs: build\n"));
    for asked in workflow.lines().filter(|line| line.contains("imagetools inspect")) {
        assert!(asked.contains("@$digest"), "the tag may have moved: {asked}");
    }
    // Users and both workflows ask for the same: this workflow, on main.
    for (name, times) in [("release.yml", 1), ("publish.yml", 1), ("../../SECURITY.md", 1)] {
        let text = fs::read_to_string(root.join(".github/workflows").join(name)).unwrap();
        for (at, _) in text.match_indices("gh attestation verify") {
            let command = text[at..].split("\n\n").next().unwrap();
            for option in ["/.github/workflows/release.yml", "--source-ref refs/heads/main"] {
                assert!(command.contains(option), "{name}: {option}");
            }
            assert!(command.contains("--signer-workflow"), "{name}");
        }
        assert_eq!(text.matches("gh attestation verify").count(), times, "{name}");
    }
}
