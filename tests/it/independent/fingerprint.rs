//! Compares fingerprints and inputs lists with tests/independent/fingerprint.py.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use ml_cache::format::Digest;

use super::python;
use crate::support::cli::{Run, Sandbox};

const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

/// The inputs of a fingerprint.
struct Case {
    data: &'static str,
    training: &'static str,
    extra: &'static str,
    default_excludes: bool,
}

impl Case {
    fn data(data: &'static str) -> Self {
        Self { data, training: "src/**", extra: "", default_excludes: true }
    }

    fn ours(&self, verb: &str, sandbox: &Sandbox) -> Run {
        let work = sandbox.work().display().to_string();
        let mut arguments: Vec<String> =
            [verb, "--json", "--model", "m", "--if-no-files-found", "ignore"]
                .map(str::to_owned)
                .into();
        arguments.push(format!("--data-paths={}", self.data.replace("@WORK@", &work)));
        arguments.push(format!("--training-paths={}", self.training));
        arguments.push(format!("--extra-key={}", self.extra));
        arguments.push(format!("--default-excludes={}", self.default_excludes));
        if verb == "save" {
            let more = ["--model-path=models/", "--lfs-stand-ins=allow"];
            arguments.extend(more.map(str::to_owned));
        }
        sandbox.raw(arguments)
    }

    fn theirs(&self, sandbox: &Sandbox) -> Run {
        let work = sandbox.work().display().to_string();
        let mut arguments = vec![
            format!("--workspace={work}"),
            format!("--data-paths={}", self.data.replace("@WORK@", &work)),
            format!("--training-paths={}", self.training),
            format!("--extra-key={}", self.extra),
        ];
        if !self.default_excludes {
            arguments.push("--no-default-excludes".to_owned());
        }
        python("fingerprint.py", &arguments)
    }
}

/// A workspace with difficult names, links and stand-ins of every kind.
fn nasty() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in [
        "plain.csv",
        "with space.csv",
        " leading.csv",
        "trailing ",
        "two  spaces",
        "new\nline.csv",
        "cr\rhere.csv",
        "crlf\r\n",
        "back\\slash.csv",
        "back\\nslash.csv",
        "tab\there",
        "\u{e9}.csv",
        "e\u{301}.csv",
        "🎯.csv",
        "日本/東京.csv",
        ".hidden",
        ".hidden dir/x",
        "a",
        "a-b",
        "a.csv",
        "ab/x",
        "ab.csv",
        "A.csv",
        "#comment",
        "!bang",
        "[x]",
        "x",
        "*",
        "?",
        "~",
        "{a,b}",
        "-rf",
        "\u{85}next line",
        "\u{a0}no break",
        "\u{7f}",
        "\u{feff}mark",
        "\u{fffd}",
        "$HOME",
        "'\"",
        "__pycache__/x.py",
        "m.pyc",
        "m.pyo",
        "m.pyx",
        ".git/config",
        ".github/x",
        ".DS_Store",
        ".DS_Store.d/x",
        ".mypy_cache/a/b",
        ".ipynb_checkpoints/n.ipynb",
        ".ruff_cache",
        "sub/deep/er/x.csv",
    ] {
        sandbox.write(&format!("data/{name}"), name);
    }
    sandbox.write("data/empty.csv", "");
    sandbox.write("data/nine.bin", vec![7; 9 << 20]);
    sandbox.write("src/train.py", "print()\n");
    sandbox.write("src/__pycache__/train.pyc", "x");
    sandbox.write(".git/HEAD", "ref: x\n");
    sandbox.write("models/m.bin", "weights");
    stand_ins(&sandbox);

    let link = |target: &str, name: &str| symlink(target, sandbox.path(name)).unwrap();
    link("plain.csv", "data/link.csv");
    link("link.csv", "data/chain.csv");
    link("./sub/../chain.csv", "data/long chain.csv");
    link("lfs/real", "data/link to a stand-in");
    link(&sandbox.path("data/plain.csv").display().to_string(), "data/absolute.csv");
    link("../src", "data/sources");
    link(".", "data/cycle");
    link("..", "data/sub/up");
    link("deep/er", "data/sub/short");
    fs::write(sandbox.work().with_file_name("outside.txt"), "outside").unwrap();
    link("../../outside.txt", "data/outside.txt");
    link("../..", "data/all outside");
    link("nowhere", "data/broken");
    link("itself", "data/itself");
    fs::write(sandbox.work().join(OsStr::from_bytes(b"data/latin-\xe9.csv")), "latin").unwrap();
    sandbox
}

/// Writes Git LFS stand-ins, and files that almost are stand-ins.
fn stand_ins(sandbox: &Sandbox) {
    let version = "version https://git-lfs.github.com/spec/v1";
    let real = format!("{version}\noid sha256:{OID}\nsize 12345\n");
    let padded = |length: usize| format!("{real}{}\n", "x".repeat(length - real.len() - 1));
    for (name, text) in [
        ("real", real.clone()),
        ("no content", real.replace("12345", "0")),
        ("too large", real.replace("12345", "18446744073709551616")),
        ("no line end", real.trim_end().to_owned()),
        ("crlf", real.replace('\n', "\r\n")),
        ("blank line", format!("{real}\n")),
        ("leading zero", real.replace("12345", "012345")),
        ("signed", real.replace("12345", "+12345")),
        ("other digits", real.replace("12345", "١٢٣")),
        ("spaces", real.replace("size ", "size  ")),
        ("capitals", real.replace(OID, &OID.to_uppercase())),
        ("short", real.replace(OID, &OID[1..])),
        ("hawser", real.replace("git-lfs", "hawser")),
        ("order", format!("{version}\nsize 12345\noid sha256:{OID}\n")),
        ("more", format!("{real}zzz 1\n")),
        ("extension", real.replacen("\noid", &format!("\next-0-x sha256:{OID}\noid"), 1)),
        ("mark", format!("\u{feff}{real}")),
        ("1023", padded(1023)),
        ("1024", padded(1024)),
    ] {
        sandbox.write(&format!("data/lfs/{name}"), text);
    }
}

/// Excludes the paths that are errors in every list.
macro_rules! tame {
    ($patterns:literal) => {
        concat!(
            $patterns,
            "\n!data/**/outside.txt\n!data/**/all \
             outside/**\n!data/**/broken\n!data/**/itself\n!data/**/latin-*"
        )
    };
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        tame!("data/**"),
        tame!("data"),
        tame!("data/"),
        tame!("./data//**/"),
        tame!("  @WORK@/data/**  "),
        tame!("**/*.csv"),
        tame!("data/*"),
        tame!("data/*/*\n!data/lfs"),
        tame!("# a comment\n\ndata/**\n!data/**/*.csv\ndata/plain.csv"),
        tame!("data/[a-e]*\ndata/?.csv\ndata/??.csv"),
        tame!("data/[!a-z]*"),
        tame!("data/back\\\\*\ndata/\\[x\\]\ndata/\\*\ndata/[?]\n./data/~\n! !data/\\!bang"),
        "data/cr\rhere.csv\r\ndata/trailing \r\ndata/\u{e9}.csv",
        "data/sources/**",
        "data/sub/up/src/**",
        "data/sub/short\ndata/sub/short/**",
        "data/cycle/plain.csv\ndata/cycle/cycle/a.csv",
        "data/link.csv\ndata/chain.csv\ndata/long chain.csv\ndata/absolute.csv\ndata/link to a \
         stand-in",
        "data/lfs/*",
        "data/nine.bin\ndata/empty.csv",
        "data/nothing/**",
        "!data/**",
        "",
        "src/**",
    ]
    .map(Case::data)
    .into();
    cases.push(Case {
        data: tame!("**\n!models"),
        training: "",
        extra: "",
        default_excludes: false,
    });
    cases.push(Case {
        data: tame!("data/**"),
        training: "src/**/*.py*",
        extra: "",
        default_excludes: false,
    });
    for extra in [
        "b=2\na=1",
        "a=1\na.b=2\na-b=3\na b=4",
        " padded = value \r\n\n\u{a0}torch=2.4\u{feff}\n",
        "empty=\nmore=a=b==\n#=no comment\nü=😀\n\u{85}=next line\nbackslash=\\n",
    ] {
        cases.push(Case {
            data: "data/ab*",
            training: "src/train.py",
            extra,
            default_excludes: true,
        });
    }
    cases
}

#[test]
fn fingerprint_and_inputs_are_those_of_an_independent_program() {
    let sandbox = nasty();
    let mut seen = BTreeSet::new();
    for case in cases() {
        let shown = format!("{:?} and {:?}", case.data, case.extra);
        let theirs = case.theirs(&sandbox).json();
        let planned = case.ours("plan", &sandbox).json();
        for name in ["fingerprint", "data-hash", "training-hash"] {
            assert_eq!(planned[name], theirs[name], "{name} of {shown}");
        }
        seen.insert(planned["fingerprint"].to_string());

        let saved = case.ours("save", &sandbox).json();
        let digest: Digest =
            saved["pointer"]["inputs"]["digest"].as_str().unwrap().parse().unwrap();
        let stored =
            fs::read(sandbox.store_dir().join(format!("v1/inputs/{}.zst", digest.hex()))).unwrap();
        let text = String::from_utf8(zstd::stream::decode_all(&*stored).unwrap()).unwrap();
        let lines = |name: &str| {
            theirs[name]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line.as_str().unwrap())
                .collect::<Vec<_>>()
        };
        let (head, extra) = text.split_once("[extra]\n").unwrap();
        let mut wanted = vec!["ml-cache/inputs-document/v1", "[data]"];
        wanted.extend(lines("data"));
        wanted.push("[training]");
        wanted.extend(lines("training"));
        assert_eq!(head.split_terminator('\n').collect::<Vec<_>>(), wanted, "{shown}");
        assert_eq!(
            Digest::of(format!("ml-cache/extra/v1\n{extra}").as_bytes()).to_string(),
            theirs["extra-hash"],
            "{shown}"
        );
    }
    assert!(seen.len() > 20, "the cases must differ, or they show nothing: {}", seen.len());
}

#[test]
fn stand_ins_may_name_more_bytes_than_can_be_added_up() {
    let sandbox = Sandbox::new();
    for name in ["data/a", "data/b", "src/c"] {
        sandbox.write(
            name,
            format!(
                "version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {}\n",
                u64::MAX
            ),
        );
    }
    let case = Case::data("data/**");
    assert_eq!(
        case.ours("plan", &sandbox).json()["fingerprint"],
        case.theirs(&sandbox).json()["fingerprint"]
    );
}

#[test]
fn what_one_program_refuses_the_other_refuses() {
    let sandbox = nasty();
    for (data, extra) in [
        ("data/broken", ""),
        ("data/itself", ""),
        ("data/outside.txt", ""),
        ("data/all outside/**", ""),
        ("data/latin-*", ""),
        ("data/**", ""),
        ("data/../src", ""),
        ("data/[]", ""),
        ("data/[z-a]", ""),
        ("data/[[:alpha:]]", ""),
        ("~/x", ""),
        ("/etc/**", ""),
        ("data/a\n!", ""),
        ("data/a", "novalue"),
        ("data/a", "=x"),
        ("data/a", "a=1\na=1"),
    ] {
        let case = Case { data, training: "src/**", extra, default_excludes: true };
        let (ours, theirs) = (case.ours("plan", &sandbox), case.theirs(&sandbox));
        assert_eq!(ours.code, 2, "{data:?} {extra:?}: {} {}", ours.stdout, ours.stderr);
        assert_ne!(theirs.code, 0, "{data:?} {extra:?}: {}", theirs.stdout);
    }
}
