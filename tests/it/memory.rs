//! The memory of a plan and of a save grows a little with the number of files, and never with their
//! sizes.
//!
//! The kernel keeps a process's peak in /proc only while the process lives. So the process prints
//! into a full pipe, and waits there until the test has read the peak.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _, pipe};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};

use ml_cache::format::manifest::{File as Entry, Mode, Part};
use ml_cache::format::{BlobId, Manifest};
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::json;

use crate::support::cli::{Sandbox, edit_json};
use crate::support::s3::Server;

const FILES: usize = 100_000;
const MIB: u64 = 1 << 20;

/// A process that cannot end, because nobody empties the pipe of its output.
struct Stuck {
    child: Child,
    output: PipeReader,
}

impl Stuck {
    fn start(mut command: Command) -> Self {
        let (output, mut input) = pipe().unwrap();
        fcntl_setfl(&input, OFlags::NONBLOCK).unwrap();
        while input.write(&[0; 4096]).is_ok() {}
        fcntl_setfl(&input, OFlags::empty()).unwrap();
        let child = command.stdout(input).stderr(Stdio::piped()).spawn().unwrap();
        // The command holds the other end of the pipe. It must not outlive the process.
        drop(command);
        Self { child, output }
    }

    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap_or_else(|| panic!("{field}: {status}"));
        line.trim_start_matches(':').trim().to_owned()
    }

    /// Reads the peak of the resident memory in bytes, then lets the process end successfully.
    fn peak(mut self) -> u64 {
        let peak = self.status("VmHWM");
        let mut printed = Vec::new();
        self.output.read_to_end(&mut printed).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert!(
            printed.last() != Some(&0),
            "the process printed nothing, so it may not have been stuck"
        );
        peak.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }
}

/// Returns the peak of a process that only prints its version. It sleeps once the pipe is full.
fn baseline(sandbox: &Sandbox) -> u64 {
    let stuck = Stuck::start(sandbox.command(["--version"]));
    while !stuck.status("State").starts_with('S') {
        std::thread::yield_now();
    }
    stuck.peak()
}

/// Returns the peak of a plan. The plan prints its decision to standard error after all its work.
fn peak_of_a_plan(sandbox: &Sandbox, patterns: &str) -> u64 {
    peak_of_a_plan_that_says(sandbox, patterns, "retrain (no-model)")
}

fn peak_of_a_plan_that_says(sandbox: &Sandbox, patterns: &str, said: &str) -> u64 {
    let arguments = ["plan", "--json", "--model", "m", "--data-paths", patterns];
    peak_of(sandbox, &arguments, said)
}

fn peak_of(sandbox: &Sandbox, arguments: &[&str], said: &str) -> u64 {
    let mut stuck = Stuck::start(sandbox.command(arguments));
    let errors = BufReader::new(stuck.child.stderr.take().unwrap());
    let mut lines = errors.lines().map(Result::unwrap);
    let decision = lines.find(|line| line.contains(said));
    assert!(decision.is_some(), "{arguments:?} did not say {said}");
    let peak = stuck.peak();
    // While the process lives, its standard error must stay open.
    drop(lines);
    peak
}

#[test]
fn a_plan_over_100_000_files_needs_less_than_64_mib() {
    let sandbox = Sandbox::new();
    // Hard links, because 100,000 separate files would keep a disk busy for a while.
    for directory in 0..FILES / 500 {
        let directory = format!("data/part-{directory:04}");
        let first = format!("{directory}/transaction-000000.json");
        sandbox.write(&first, "{}");
        for file in 1..500 {
            let name = format!("{directory}/transaction-{file:06}.json");
            fs::hard_link(sandbox.path(&first), sandbox.path(&name)).unwrap();
        }
    }
    let baseline = baseline(&sandbox);
    let peak = peak_of_a_plan(&sandbox, "data/**");
    assert!(
        peak - baseline < 64 * MIB,
        "{} MiB over {} MiB",
        (peak - baseline) / MIB,
        baseline / MIB
    );
}

#[test]
fn a_plan_over_a_large_file_needs_no_more_than_over_a_small_one() {
    let sandbox = Sandbox::new();
    sandbox.write("data/small", "x");
    // A hole takes no space on the disk.
    File::create(sandbox.path("data/large")).unwrap().set_len(256 * MIB).unwrap();
    let small = peak_of_a_plan(&sandbox, "data/small");
    let large = peak_of_a_plan(&sandbox, "data/large");
    assert!(large < small + 8 * MIB, "{} MiB over {} MiB", (large - small) / MIB, small / MIB);
}

/// A blob is hashed, and read again when its request sends it. So no request holds a blob.
#[test]
fn a_save_of_many_chunks_needs_less_than_48_mib() {
    const CHUNKS: u64 = 32;
    let server = Server::start();
    let mut sandbox = Sandbox::with_store("s3://models/cache");
    sandbox.write("data/a.csv", "x");
    sandbox.write("models/small", "x");
    server.endpoint.env().into_iter().for_each(|(name, value)| sandbox.env(name, value));
    // Each chunk begins with its number. The rest is a hole, which takes no space on the disk.
    let large = File::create(sandbox.path("models/large")).unwrap();
    large.set_len(CHUNKS * 8 * MIB).unwrap();
    for chunk in 0..CHUNKS {
        large.write_all_at(&chunk.to_be_bytes(), chunk * 8 * MIB).unwrap();
    }
    let save = ["save", "--json", "--model=m", "--data-paths=data/**", "--model-path=models/"];
    let baseline = baseline(&sandbox);
    let peak = peak_of(&sandbox, &save, "saved");
    assert_eq!(server.objects("/blobs/").len(), CHUNKS as usize + 1);
    assert!(peak - baseline < 48 * MIB, "{} MiB", (peak - baseline) / MIB);
}

/// The stored manifest of a million files must leave most of 512 MiB to the rest of the program.
#[test]
fn a_model_of_400_000_files_needs_less_than_200_mib() {
    const ENTRIES: usize = 400_000;
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", "x");
    sandbox.write("models/a", "weights");
    let save = ["save", "--model=m", "--data-paths=data/**", "--model-path=models/", "--json"];
    assert_eq!(sandbox.raw(save).json()["saved"], true);
    // All files share the blob of the small model.
    let blob = BlobId::of(b"weights");
    let file = |number: usize| Entry {
        path: format!("models/shard-{:04}/transaction-{number:08}.json", number / 1000),
        size: 7,
        mode: Mode::Regular,
        parts: vec![Part { blob, offset: 0, length: 7 }],
    };
    let manifest = Manifest::new((0..ENTRIES).map(file).collect(), vec![], vec![]).unwrap();
    let packed = manifest.pack().unwrap();
    assert!(packed.is_compressed && packed.size > 64 << 20, "{}", packed.size);
    let hex = packed.id.hex();
    fs::write(sandbox.store_dir().join(format!("v1/manifests/{hex}.json.zst")), &packed.bytes)
        .unwrap();
    let is_pointer = |path: &std::path::PathBuf| path.to_string_lossy().contains("/pointers/");
    let pointer = sandbox.objects("v1/trusted").into_iter().find(is_pointer).unwrap();
    edit_json(&pointer, |pointer| {
        let digest = format!("sha256:{hex}");
        pointer["manifest"] = json!({"digest": digest, "size": packed.size});
    });
    let baseline = baseline(&sandbox);
    let peak = peak_of_a_plan_that_says(&sandbox, "data/**", "(hit)");
    assert!(peak - baseline < 200 * MIB, "{} MiB", (peak - baseline) / MIB);
}
