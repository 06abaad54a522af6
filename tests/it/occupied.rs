//! Names that somebody else occupied before the honest save, and honest neighbours under them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use ml_cache::format::Digest;
use serde_json::Value;

use crate::s3_faults::{BLOBS, INPUTS, MANIFESTS, Scene};
use crate::support::cli::{Run, Sandbox, snapshot};
use crate::support::s3::{Change, Endpoint, Fault};

/// Where the second names of the tests' model lie.
const SECOND: &str = "/v1/trusted/local/work/fraud/";

/// The checksums with which a client may store an object.
#[derive(Clone, Copy, Debug)]
enum Checksum {
    None,
    Crc32,
    Sha256,
}

impl Checksum {
    fn header(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::None => None,
            Self::Crc32 => {
                let sum = STANDARD.encode(crc32(bytes).to_be_bytes());
                Some(format!("x-amz-checksum-crc32: {sum}"))
            }
            Self::Sha256 => Some(format!("x-amz-checksum-sha256: {}", Digest::of(bytes).base64())),
        }
    }
}

/// Source: ISO 3309, as in RFC 1952, section 8.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[0] ^= 1;
    bytes
}

fn longer(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0);
    bytes
}

/// A scene before its first save. Somebody foresaw the objects of `part`, and put changed bytes
/// under their names. No role replaces such an object.
fn foreseen(part: &str, change: fn(Vec<u8>) -> Vec<u8>, checksum: Checksum) -> Scene {
    let honest = Scene::new();
    honest.sandbox.run("save", &[]).json();
    let scene = Scene::new();
    for (key, path) in honest.server.objects(part) {
        scene.plant(&key, &change(fs::read(path).unwrap()), checksum);
    }
    scene.server.create_only();
    scene
}

impl Scene {
    fn plant(&self, key: &str, bytes: &[u8], checksum: Checksum) {
        plant(&self.server.endpoint, "models", key, bytes, checksum);
    }

    /// Plants an object as a role does that only creates.
    fn plant_new(&self, key: &str, bytes: &[u8]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, bytes).unwrap();
        let payload = format!("x-amz-content-sha256: {}", Digest::of(bytes).hex());
        let file = file.path().to_str().unwrap();
        let create = ["--header", "if-none-match: *", "--header", &payload];
        self.server.endpoint.script(&[&["put", "models", key, file][..], &create].concat());
    }

    /// Returns how many objects have second names.
    fn seconds(&self) -> usize {
        let all = self.server.objects(SECOND);
        let is_second = |(key, _): &&(String, PathBuf)| {
            ["blobs", "manifests", "inputs"]
                .iter()
                .any(|it| key.contains(&format!("{SECOND}{it}/")))
        };
        all.iter().filter(is_second).count()
    }

    /// Saves, and demands that the log names each occupied object and its removal.
    #[track_caller]
    fn saves_beside(&self, part: &str, more: &[&str]) -> Run {
        let run = self.sandbox.run("save", more);
        assert_eq!(run.json()["saved"], true, "{}", run.stderr);
        for (key, _) in self.server.objects(part) {
            let key = key.strip_prefix("some/prefix/").unwrap();
            assert!(run.stderr.contains(&format!("`{key}` holds other bytes")), "{}", run.stderr);
            let removal = format!("`aws s3 rm s3://models/some/prefix/{key} --endpoint-url http");
            assert!(run.stderr.contains(&removal), "{}", run.stderr);
        }
        run
    }

    /// Demands a hit, and every byte of the model.
    #[track_caller]
    fn is_whole(&self) {
        let plan = self.sandbox.run("plan", &[]);
        assert_eq!(plan.json()["reason"], "hit", "{}", plan.stderr);
        assert_eq!(self.sandbox.run("verify", &[]).code, 0);
        fs::remove_dir_all(self.sandbox.path("models")).unwrap();
        self.restores();
    }
}

fn plant(endpoint: &Endpoint, bucket: &str, key: &str, bytes: &[u8], checksum: Checksum) {
    let payload = format!("x-amz-content-sha256: {}", Digest::of(bytes).hex());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, bytes).unwrap();
    let sum = checksum.header(bytes);
    let mut arguments = vec!["put", bucket, key, file.path().to_str().unwrap()];
    arguments.extend(["--header", &payload]);
    arguments.extend(sum.iter().flat_map(|sum| ["--header", sum.as_str()]));
    endpoint.script(&arguments);
}

#[test]
fn other_bytes_under_a_blobs_name_do_not_break_the_save() {
    for (change, checksum) in [
        (flipped as fn(_) -> _, Checksum::Crc32),
        (flipped, Checksum::Sha256),
        (longer, Checksum::None),
    ] {
        let scene = foreseen(BLOBS, change, checksum);
        scene.saves_beside(BLOBS, &[]);
        assert_eq!(scene.seconds(), 3, "{checksum:?}");
        scene.is_whole();
        // The next save finds the second names.
        scene.server.reset();
        let again = scene.sandbox.run("save", &["--force-retrain", "true"]);
        assert_eq!(again.json()["pointer"]["generation"], 2, "{}", again.stderr);
        assert!(again.stderr.contains("aws s3 rm"), "{}", again.stderr);
        let sent = scene.server.requests_to(Method::PUT, &format!("{SECOND}blobs/"));
        assert_eq!(sent.len(), 0, "{checksum:?}");
    }
}

#[test]
fn a_save_that_may_replace_an_occupied_object_does() {
    let honest = Scene::new();
    honest.sandbox.run("save", &[]).json();
    let scene = Scene::new();
    for part in [BLOBS, MANIFESTS, INPUTS] {
        for (key, path) in honest.server.objects(part) {
            scene.plant(&key, &flipped(fs::read(path).unwrap()), Checksum::Crc32);
        }
    }
    let run = scene.sandbox.run("save", &[]);
    assert_eq!(run.json()["saved"], true, "{}", run.stderr);
    assert!(!run.stderr.contains("aws s3 rm"), "{}", run.stderr);
    assert_eq!(scene.seconds(), 0);
    scene.is_whole();
}

#[test]
fn another_text_under_a_manifests_name_is_no_trap() {
    for change in [flipped as fn(_) -> _, longer] {
        let scene = foreseen(MANIFESTS, change, Checksum::Crc32);
        scene.saves_beside(MANIFESTS, &[]);
        scene.is_whole();
    }
}

#[test]
fn a_wrong_manifest_is_incomplete_and_heals_by_a_training() {
    type Ways<'a> = [(&'a [&'a str], &'a str); 3];
    const WAYS: Ways<'static> = [
        (&[], "incomplete"),
        (&["--on-error", "retrain"], "incomplete"),
        (&["--force-retrain", "true"], "forced"),
    ];
    for change in [flipped as fn(_) -> _, longer, |_| Vec::new()] {
        let scene = Scene::saved();
        let (key, path) = scene.server.objects(MANIFESTS).remove(0);
        scene.plant(&key, &change(fs::read(path).unwrap()), Checksum::None);
        scene.server.create_only();
        for (flags, reason) in WAYS {
            let plan = scene.sandbox.run("plan", flags);
            assert_eq!(plan.json()["reason"], reason, "{}", plan.stderr);
        }
        for verb in ["restore", "verify"] {
            scene.sandbox.run(verb, &[]).fails(4, &["v1/manifests/", "hint:"]);
        }
        scene.write_model();
        let run = scene.sandbox.run("save", &[]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        scene.is_whole();
    }
}

#[test]
fn another_text_under_an_inputs_documents_name_costs_nothing() {
    let bomb = |_| zstd::bulk::compress(&vec![b'x'; 64 << 20], 19).unwrap();
    for change in [flipped as fn(_) -> _, longer, bomb] {
        let scene = foreseen(INPUTS, change, Checksum::Crc32);
        scene.saves_beside(INPUTS, &[]);
        scene.sandbox.write("data/b.csv", "id,amount\n2,21\n");
        let plan = scene.sandbox.run("plan", &[]).json();
        assert_eq!(plan["changes"][0]["path"], "data/b.csv", "{plan}");
    }
}

#[test]
fn a_bomb_in_place_of_an_inputs_document_costs_words() {
    let scene = Scene::saved();
    let (key, _) = scene.server.objects(INPUTS).remove(0);
    let bomb = zstd::bulk::compress(&vec![b'x'; 64 << 20], 19).unwrap();
    scene.plant(&key, &bomb, Checksum::Crc32);
    scene.sandbox.write("data/b.csv", "id,amount\n2,21\n");
    let plan = scene.sandbox.run("plan", &[]);
    assert_eq!(plan.json()["reason"], "no-model", "{}", plan.stderr);
    assert!(plan.stderr.contains("cannot compare the inputs"), "{}", plan.stderr);
}

#[test]
fn an_object_that_only_its_writer_can_read_is_no_trap() {
    let unreadable = |scene: &Scene| {
        scene.fault(Method::HEAD, "/v1/blobs/", 1.., Fault::Answer(400, ""));
        scene.fault(Method::GET, "/v1/blobs/", 1.., Fault::Answer(400, "SSECustomerKeyMissing"));
        scene.fault(
            Method::GET,
            "/v1/manifests/",
            1..,
            Fault::Answer(400, "SSECustomerKeyMissing"),
        );
        scene.fault(Method::HEAD, "/v1/manifests/", 1.., Fault::Answer(400, ""));
    };
    let scene = foreseen(BLOBS, flipped, Checksum::None);
    let manifest = Scene::saved().server.objects(MANIFESTS).remove(0).0;
    scene.plant_new(&manifest, b"secret");
    unreadable(&scene);
    scene.saves_beside(BLOBS, &[]);
    scene.is_whole();
    // Without second names, a restore says which object it cannot read.
    let scene = Scene::saved();
    unreadable(&scene);
    assert_eq!(scene.sandbox.run("plan", &[]).json()["reason"], "incomplete");
    scene.sandbox.run("restore", &[]).fails(4, &["v1/manifests/", "SSE-C", "hint:"]);
}

/// The answer to HEAD has no words. Only the answer to GET names the key.
#[test]
fn an_object_with_a_foreign_key_of_kms_is_no_trap() {
    let words = "User is not authorized to perform: kms:Decrypt on the resource of this ciphertext";
    let scene = Scene::saved();
    scene.fault(Method::HEAD, BLOBS, 1.., Fault::Answer(403, ""));
    scene.fault(Method::GET, BLOBS, 1.., Fault::Says(words.to_owned()));
    scene.server.create_only();
    assert_eq!(scene.sandbox.run("plan", &[]).json()["reason"], "incomplete");
    scene.sandbox.run("restore", &[]).fails(4, &["kms:Decrypt", "hint:"]);
    scene.write_model();
    let run = scene.sandbox.run("save", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("aws s3 rm"), "{}", run.stderr);
    scene.is_whole();
}

#[test]
fn a_denied_look_up_is_no_gap() {
    let scene = Scene::saved();
    scene.fault(Method::HEAD, BLOBS, 1.., Fault::Answer(403, ""));
    assert_eq!(scene.sandbox.run("plan", &[]).json()["reason"], "hit", "the bytes can be read");
    scene.fault(Method::GET, BLOBS, 1.., Fault::Answer(403, "AccessDenied"));
    scene.sandbox.run("plan", &[]).fails(1, &["AccessDenied", "s3:GetObject"]);
}

#[test]
fn an_archived_model_heals_by_a_training() {
    for flags in [&[][..], &["--force-retrain", "true"]] {
        let scene = Scene::saved();
        let class = Change::Header("x-amz-storage-class", "GLACIER".to_owned());
        scene.fault(Method::HEAD, BLOBS, 1.., Fault::Reply(class));
        scene.fault(Method::GET, BLOBS, 1.., Fault::Answer(403, "InvalidObjectState"));
        scene.server.create_only();
        assert_eq!(scene.sandbox.run("plan", &[]).json()["reason"], "incomplete");
        scene.sandbox.run("restore", &[]).fails(4, &["v1/blobs/", "archive", "hint:"]);
        scene.write_model();
        let run = scene.sandbox.run("save", flags);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains("aws s3 rm"), "{}", run.stderr);
        assert_eq!(scene.seconds(), 3);
        scene.is_whole();
    }
}

/// Saves as another model, whose last manifest the save does not know.
fn save_as_other(scene: &Scene) -> Run {
    let mut arguments = Sandbox::arguments("save", &[]);
    let at = arguments.iter().position(|it| it == "fraud").unwrap();
    "other".clone_into(&mut arguments[at]);
    scene.sandbox.raw(arguments)
}

#[test]
fn blobs_that_another_run_stored_cost_at_most_two_requests() {
    let scene = Scene::saved();
    scene.write_model();
    for (most_puts, file) in [(3, "data/a.csv"), (0, "data/b.csv")] {
        scene.server.reset();
        scene.sandbox.write(file, "changed\n");
        let saved = match most_puts {
            0 => scene.sandbox.run("save", &[]),
            _ => save_as_other(&scene),
        };
        assert_eq!(saved.json()["saved"], true, "{}", saved.stderr);
        // Each is looked at, whatever the first request said.
        assert_eq!(scene.server.requests_to(Method::HEAD, BLOBS).len(), 3);
        assert!(scene.server.requests_to(Method::PUT, BLOBS).len() <= most_puts, "{file}");
        assert_eq!(scene.server.requests_to(Method::GET, BLOBS).len(), 0);
        assert_eq!(scene.seconds(), 0);
    }
}

#[test]
fn blobs_that_a_save_may_not_write_are_adopted() {
    for answer in [Fault::Answer(403, "AccessDenied"), Fault::Answer(507, "")] {
        let scene = Scene::saved();
        scene.write_model();
        scene.fault(Method::PUT, BLOBS, 1.., answer.clone());
        let saved = save_as_other(&scene);
        assert_eq!(saved.json()["saved"], true, "{answer:?} {}", saved.stderr);
        assert_eq!(scene.seconds(), 0);
    }
}

/// The checksum of a multipart upload says nothing about the bytes of the whole object.
#[test]
fn blobs_without_the_checksum_of_the_whole_are_read_and_adopted() {
    let scene = Scene::saved();
    scene.write_model();
    let kind = Change::Header("x-amz-checksum-type", "COMPOSITE".to_owned());
    scene.fault(Method::HEAD, BLOBS, 1.., Fault::Reply(kind));
    scene.sandbox.write("data/a.csv", "changed\n");
    let saved = scene.sandbox.run("save", &[]);
    assert_eq!(saved.json()["saved"], true, "{}", saved.stderr);
    assert_eq!(scene.server.requests_to(Method::GET, BLOBS).len(), 3);
    assert_eq!(scene.server.requests_to(Method::PUT, BLOBS).len(), 0);
    assert!(!saved.stderr.contains("aws s3 rm"), "{}", saved.stderr);
}

#[test]
fn a_good_day_costs_no_request_for_second_names() {
    let scene = Scene::new();
    scene.sandbox.run("save", &[]).json();
    scene.is_whole();
    let to_seconds: Vec<String> = scene
        .server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .filter(|path| {
            ["blobs/", "manifests/", "inputs/"]
                .iter()
                .any(|it| path.contains(&format!("fraud/{it}")))
        })
        .collect();
    assert_eq!(to_seconds, [] as [String; 0]);
}

#[test]
fn occupied_names_heal_on_seaweedfs() {
    let endpoint = Endpoint::seaweedfs();
    for checksum in [Checksum::None, Checksum::Crc32] {
        let (foresight, bucket) = (endpoint.fresh_bucket(), endpoint.fresh_bucket());
        let at = |bucket: &str| crate::s3_faults::project(&endpoint, &format!("s3://{bucket}/p"));
        at(&foresight).run("save", &[]).json();
        let sandbox = at(&bucket);
        let listed = endpoint.script(&["ls", &foresight, "p/v1/"]);
        for key in String::from_utf8(listed).unwrap().lines() {
            if [BLOBS, MANIFESTS, INPUTS].iter().any(|part| key.contains(part)) {
                let bytes = endpoint.script(&["cat", &foresight, key]);
                plant(&endpoint, &bucket, key, &flipped(bytes), checksum);
            }
        }
        let saved = sandbox.run("save", &[]);
        assert_eq!(saved.json()["saved"], true, "{}", saved.stderr);
        let model = snapshot(&sandbox.path("models"));
        fs::remove_dir_all(sandbox.path("models")).unwrap();
        assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
        assert_eq!(snapshot(&sandbox.path("models")), model);
        sandbox.write("data/a.csv", "changed\n");
        let next = sandbox.run("save", &[]);
        assert_eq!(next.json()["saved"], true);
        assert!(next.stderr.contains("nothing new uploaded"), "{}", next.stderr);
    }
}

/// A project with a model of a single blob, and a directory as its store.
fn directory() -> Sandbox {
    let sandbox = Sandbox::with_project();
    sandbox.write("models/model.bin", "weights");
    sandbox
}

/// Puts changed bytes under every name that the model will have, in files of this mode and owner.
fn occupied_directory(mode: u32, owner: Option<u32>) -> Sandbox {
    let honest = directory();
    honest.run("save", &[]).json();
    let sandbox = directory();
    for path in honest.objects("v1") {
        let key = path.strip_prefix(honest.store_dir()).unwrap();
        if key.starts_with("v1/trusted") {
            continue;
        }
        let planted = sandbox.store_dir().join(key);
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        fs::write(&planted, flipped(fs::read(path).unwrap())).unwrap();
        fs::set_permissions(&planted, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&planted, owner, None).unwrap();
    }
    sandbox
}

#[track_caller]
fn directory_is_whole(sandbox: &Sandbox) {
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit");
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_eq!(sandbox.read("models/model.bin"), "weights");
}

#[test]
fn a_file_that_others_may_write_is_read_before_a_save_adopts_it() {
    let is_root = rustix::process::geteuid().is_root();
    for (mode, foreign) in [(0o666, false), (0o620, false), (0o644, true), (0o000, true)] {
        // Only root may give files away.
        if foreign && !is_root {
            continue;
        }
        let sandbox = occupied_directory(mode, foreign.then_some(12_345));
        let saved = sandbox.run("save", &[]);
        assert_eq!(saved.json()["saved"], true, "{}", saved.stderr);
        directory_is_whole(&sandbox);
    }
}

/// A user's own file is not read. If a training is forced, the save trusts no file.
#[test]
fn a_forced_training_heals_even_the_files_of_the_same_user() {
    let sandbox = directory();
    sandbox.run("save", &[]).json();
    let blob = sandbox.objects("v1/blobs").remove(0);
    fs::write(&blob, flipped(fs::read(&blob).unwrap())).unwrap();
    sandbox.run("restore", &["--destination", "elsewhere"]).fails(4, &["v1/blobs/", "hint:"]);
    sandbox.run("save", &["--force-retrain", "true"]).json();
    directory_is_whole(&sandbox);
}

#[test]
fn a_directory_in_the_place_of_a_blob_is_told() {
    let honest = directory();
    honest.run("save", &[]).json();
    let blob = honest.objects("v1/blobs").remove(0);
    let key = blob.strip_prefix(honest.store_dir()).unwrap().to_owned();
    let sandbox = directory();
    fs::create_dir_all(sandbox.store_dir().join(&key).join("full")).unwrap();
    let saved = sandbox.run("save", &[]);
    assert_eq!(saved.json()["saved"], true, "{}", saved.stderr);
    let removal = format!("`rm {}`", sandbox.store_dir().join(&key).display());
    assert!(saved.stderr.contains(&removal), "{}", saved.stderr);
    directory_is_whole(&sandbox);
    assert!(sandbox.store_dir().join("v1/trusted/local/work/fraud/blobs").is_dir());
}

#[test]
fn a_scope_reads_only_its_own_second_names() {
    let scene = foreseen(BLOBS, flipped, Checksum::None);
    scene.saves_beside(BLOBS, &[]);
    // The copies of another model count for nothing here.
    let other: Vec<(String, Vec<u8>)> = scene
        .server
        .objects(&format!("{SECOND}blobs/"))
        .into_iter()
        .map(|(key, path)| (key.replace("/fraud/", "/other/"), fs::read(&path).unwrap()))
        .collect();
    let fresh = Scene::saved();
    for (key, path) in fresh.server.objects(BLOBS) {
        fresh.plant(&key, &longer(fs::read(path).unwrap()), Checksum::None);
    }
    for (key, bytes) in &other {
        fresh.plant(key, bytes, Checksum::Sha256);
    }
    let plan: Value = fresh.sandbox.run("plan", &[]).json();
    assert_eq!(plan["reason"], "incomplete");
}
