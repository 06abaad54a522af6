//! Hand-written manifests with correct digests that try to leave the workspace.

use std::fs;
use std::path::Path;

use ml_cache::format::Digest;
use serde_json::{Value, json};

use super::Sandbox;
use crate::support::cli::{edit_json, snapshot};

const CONTENT: &[u8] = b"evil";

/// An entry of the manifest for a file with the bytes [`CONTENT`].
fn file(path: &str) -> Value {
    let part = json!({"blob": Digest::of(CONTENT).hex(), "offset": 0, "length": CONTENT.len()});
    json!({"path": path, "size": CONTENT.len(), "mode": "644", "parts": [part]})
}

fn manifest(files: &[Value], links: &[(&str, &str)], dirs: &[&str]) -> Value {
    let links: Vec<Value> =
        links.iter().map(|(path, target)| json!({"path": path, "target": target})).collect();
    json!({"schema": "ml-cache/manifest/v1", "files": files, "links": links, "dirs": dirs})
}

impl Sandbox {
    /// Stores a manifest, and makes the model's pointer lead to it.
    fn plant(&self, manifest: &Value) {
        let put = |key: String, bytes: &[u8]| {
            let path = self.store_dir().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let blob = Digest::of(CONTENT).hex();
        put(format!("v1/blobs/{}/{blob}", &blob[..2]), CONTENT);
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = Digest::of(&bytes);
        put(format!("v1/manifests/{}.json", digest.hex()), &bytes);
        let pointer = self
            .objects("v1/trusted")
            .into_iter()
            .find(|path| path.to_string_lossy().contains("/pointers/"));
        edit_json(&pointer.unwrap(), |pointer| {
            pointer["manifest"] = json!({"digest": digest.to_string(), "size": bytes.len()});
        });
    }

    /// Returns all entries in and around the workspace, except for the store.
    fn surroundings(&self) -> Vec<String> {
        let mut all = snapshot(self.work().parent().unwrap());
        all.retain(|entry| !entry.starts_with("store/"));
        all
    }

    #[track_caller]
    fn refuses(&self, manifest: &Value) {
        self.plant(manifest);
        let before = self.surroundings();
        let run = self.run("restore", &[]);
        assert_eq!(run.code, 4, "{manifest}: {}", run.stderr);
        run.fails(4, &["v1/manifests/"]);
        assert_eq!(self.surroundings(), before, "{manifest}");
    }
}

fn stored() -> Sandbox {
    let sandbox = Sandbox::with_project();
    sandbox.write("models/model.bin", "weights");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    sandbox
}

#[test]
fn a_harmless_manifest_by_hand_is_restored() {
    let sandbox = stored();
    sandbox.plant(&manifest(&[file("models/good")], &[("models/link", "good")], &["models/empty"]));
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_eq!(sandbox.read("models/link"), "evil", "the refusals below are about the paths alone");
}

#[test]
fn a_known_model_path_limits_trusted_models_too() {
    let sandbox = stored();
    for manifest in [
        manifest(&[file("Makefile"), file("models/good")], &[], &[]),
        manifest(&[file("models/good")], &[], &["src/new"]),
        manifest(&[file("models/good")], &[("models/env", "../.env")], &[]),
        manifest(&[file("models/good")], &[("conftest.py", "models/good")], &[]),
    ] {
        sandbox.plant(&manifest);
        let before = sandbox.surroundings();
        let told = ["the model of the scope `trusted` has", "`model-path` does not select"];
        sandbox.run("restore", &["--model-path", "models/"]).fails(4, &told);
        sandbox.train(&[], "touch ran").fails(4, &told);
        assert_eq!(sandbox.surroundings(), before, "{manifest}");
        // A deployment that does not know the path trusts the default branch.
        assert_eq!(sandbox.run("restore", &["--destination", "out"]).json()["restored"], true);
        fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
}

#[test]
fn paths_that_leave_the_workspace_are_refused() {
    let sandbox = stored();
    let absolute = sandbox.work().join("../absolute").display().to_string();
    for path in [
        "../evil",
        "models/../../evil",
        "..",
        ".",
        "./evil",
        "",
        "/evil",
        &absolute,
        "models//evil",
        "models/",
        "a\0b",
    ] {
        sandbox.refuses(&manifest(&[file(path)], &[], &[]));
        sandbox.refuses(&manifest(&[], &[], &[path]));
        sandbox.refuses(&manifest(&[], &[(path, "x")], &[]));
    }
}

#[test]
fn paths_that_steer_git_or_workflows_are_refused() {
    let sandbox = stored();
    for path in [
        ".git/hooks/pre-commit",
        "sub/.GIT/config",
        ".github/workflows/x.yml",
        "sub/.GitHub/x",
        ".git",
    ] {
        sandbox.refuses(&manifest(&[file(path)], &[], &[]));
        sandbox.refuses(&manifest(&[], &[("models/link", path)], &[]));
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    let sandbox = stored();
    for (path, target) in [
        ("models/link", "/etc/passwd"),
        ("models/link", "../../evil"),
        ("link", ".."),
        ("models/link", "sub/../../../evil"),
        ("models/link", ""),
        ("models/link", "a\0b"),
        ("models/link", "../.git/config"),
    ] {
        sandbox.refuses(&manifest(&[], &[(path, target)], &[]));
    }
}

#[test]
fn entries_below_links_and_files_are_refused() {
    let sandbox = stored();
    sandbox.refuses(&manifest(&[file("models/link/evil")], &[("models/link", "sub")], &[]));
    sandbox.refuses(&manifest(&[file("models/file"), file("models/file/evil")], &[], &[]));
    sandbox.refuses(&manifest(&[file("models/dir/evil")], &[], &["models/dir"]));
    sandbox.refuses(&manifest(&[], &[("models/a", "b"), ("models/a/c", "d")], &[]));
    // The same name in two normal forms is one file on some systems.
    sandbox.refuses(&manifest(&[file("models/e\u{301}"), file("models/\u{e9}")], &[], &[]));
    sandbox.refuses(&manifest(&[file("models/a")], &[("models/a", "b")], &[]));
}

#[test]
fn numbers_that_do_not_add_up_are_refused() {
    let sandbox = stored();
    let blob = Digest::of(CONTENT).hex();
    let with = |size: u64, parts: &[(u64, u64)]| {
        let parts: Vec<Value> = parts
            .iter()
            .map(|(offset, length)| json!({"blob": blob, "offset": offset, "length": length}))
            .collect();
        manifest(
            &[json!({"path": "models/x", "size": size, "mode": "644", "parts": parts})],
            &[],
            &[],
        )
    };
    for bad in [
        with(5, &[(0, 4)]),
        with(3, &[(0, 4)]),
        with(0, &[(0, 0)]),
        with(4, &[(0, 4), (0, 0)]),
        with(u64::MAX, &[(u64::MAX, u64::MAX)]),
        with(u64::MAX, &[(1, u64::MAX)]),
        with(3, &[(0, 4), (0, u64::MAX)]),
    ] {
        sandbox.refuses(&bad);
    }
}

#[test]
fn other_forms_are_refused() {
    let sandbox = stored();
    let good = manifest(&[file("models/a"), file("models/b")], &[], &[]);
    let change = |edit: fn(&mut Value)| {
        let mut changed = good.clone();
        edit(&mut changed);
        changed
    };
    for bad in [
        change(|m| m["schema"] = json!("ml-cache/manifest/v2")),
        change(|m| m["more"] = json!(1)),
        change(|m| m["files"][0]["mode"] = json!("4755")),
        change(|m| m["files"][0]["size"] = json!(-1)),
        change(|m| m["files"][0]["owner"] = json!("root")),
        change(|m| m["files"][0]["parts"][0]["blob"] = json!("../../../etc/passwd")),
        change(|m| m["files"].as_array_mut().unwrap().reverse()),
        change(|m| m["files"][1]["path"] = json!("models/a")),
        json!([]),
        json!("manifest"),
    ] {
        sandbox.refuses(&bad);
    }
}

#[test]
fn a_blob_that_is_shorter_than_its_parts_say_is_refused() {
    let sandbox = stored();
    let part = json!({"blob": Digest::of(CONTENT).hex(), "offset": 2, "length": 1 << 20});
    sandbox.plant(&manifest(
        &[json!({"path": "models/x", "size": 1 << 20, "mode": "644", "parts": [part]})],
        &[],
        &[],
    ));
    let before = sandbox.surroundings();
    sandbox.run("restore", &[]).fails(4, &[]);
    assert_eq!(sandbox.surroundings(), before);
    assert!(!Path::new(&sandbox.path("models/x")).exists());
}

#[test]
fn a_stored_model_with_a_reserved_name_counts_for_no_verb() {
    for path in ["models/.ml-cache-tmp-2.bin", ".ml-cache-tmp-1/model.bin"] {
        let sandbox = stored();
        sandbox.plant(&manifest(&[file(path), file("models/good")], &[], &[]));
        // So a training replaces the model.
        assert_eq!(sandbox.run("plan", &[]).json()["reason"], "incomplete", "{path}");
        sandbox.run("verify", &[]).fails(4, &["the reserved path", path]);
        sandbox.run("restore", &[]).fails(4, &["the reserved path", path]);
        assert_eq!(sandbox.run("save", &[]).json()["saved"], true, "{path}");
        assert_eq!(sandbox.run("restore", &[]).json()["restored"], true, "{path}");
    }
}
