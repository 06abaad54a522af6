//! Manifests that the format allows, and manifests that it refuses.

use proptest::prelude::*;

use super::*;

fn file(path: &str, size: u64) -> File {
    let parts = if size == 0 {
        Vec::new()
    } else {
        vec![Part { blob: BlobId::of(path.as_bytes()), offset: 0, length: size }]
    };
    File { path: path.to_owned(), size, mode: Mode::Regular, parts }
}

fn link(path: &str, target: &str) -> Link {
    Link { path: path.to_owned(), target: target.to_owned() }
}

#[test]
fn the_bytes_are_exactly_those_of_the_format() {
    let manifest = Manifest::new(
        vec![file("models/a.bin", 3)],
        vec![link("models/latest", "a.bin")],
        vec!["models/empty".to_owned()],
    )
    .unwrap();
    let blob = BlobId::of(b"models/a.bin").hex();
    assert_eq!(
        String::from_utf8(manifest.to_bytes().unwrap()).unwrap(),
        format!(
            concat!(
                r#"{{"schema":"ml-cache/manifest/v1","#,
                r#""files":[{{"path":"models/a.bin","size":3,"mode":"644","#,
                r#""parts":[{{"blob":"{blob}","offset":0,"length":3}}]}}],"#,
                r#""links":[{{"path":"models/latest","target":"a.bin"}}],"#,
                r#""dirs":["models/empty"]}}"#,
            ),
            blob = blob
        )
    );
}

#[test]
fn an_object_in_another_form_is_refused() {
    let manifest =
        Manifest::new(vec![file("a", 3)], vec![link("b", "a")], vec!["c".to_owned()]).unwrap();
    let text = String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
    let blob = BlobId::of(b"a").hex();
    let part = format!(r#"{{"blob":"{blob}","offset":0,"length":3}}"#);
    let whole = format!(r#"["{SCHEMA}",[],[],[]]"#);
    for (from, to) in [
        (text.as_str(), whole.as_str()),
        (r#"{"path":"b","target":"a"}"#, r#"["b","a"]"#),
        (&part, &format!(r#"["{blob}",0,3]"#)),
        (
            &format!(r#"{{"path":"a","size":3,"mode":"644","parts":[{part}]}}"#),
            &format!(r#"["a",3,"644",[{part}]]"#),
        ),
        (r#""mode":"644""#, r#""mode":{"644":null}"#),
        (r#""mode":"644""#, r#""mode":0"#),
        (r#""dirs":["c"]"#, r#""dirs":[["c"]]"#),
        (r#""dirs":["c"]"#, r#""dirs":{"c":0}"#),
        (r#","dirs":["c"]"#, ""),
        (r#","dirs":["c"]"#, r#","dirs":["c"],"dirs":["c"]"#),
        (r#","target":"a""#, r#","target":"a","target":"a""#),
        (r#""offset":0"#, r#""offset":-0"#),
        (r#""offset":0"#, r#""offset":0.0"#),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert!(Manifest::parse(changed.as_bytes()).is_err(), "{changed}");
    }
    let spaced = text.replace(',', ", ");
    assert_eq!(Manifest::parse(spaced.as_bytes()).unwrap(), manifest);
}

#[test]
fn blobs_gather_their_uses() {
    let shared = BlobId::of(b"pack");
    let files = vec![
        File { parts: vec![Part { blob: shared, offset: 0, length: 2 }], ..file("a", 2) },
        File { parts: vec![Part { blob: shared, offset: 2, length: 5 }], ..file("b", 5) },
    ];
    let blobs = Manifest::new(files, vec![], vec![]).unwrap().blobs();
    assert_eq!(blobs.len(), 1);
    assert_eq!(blobs[0].size, 7);
    assert_eq!(blobs[0].uses[1], Use { file: 1, file_offset: 0, blob_offset: 2, length: 5 });
}

#[test]
fn the_common_directory_is_found() {
    for (paths, directory) in [
        (&["models/a", "models/b/c"][..], "models"),
        (&["m/x/a", "m/x/b"], "m/x"),
        (&["m/x/a", "m/xy/b"], "m"),
        (&["a", "m/b"], ""),
        (&["a/b", "c/d"], ""),
        (&["a/b/c"], "a/b"),
        (&[], ""),
    ] {
        let files = paths.iter().map(|path| file(path, 1)).collect();
        assert_eq!(Manifest::new(files, vec![], vec![]).unwrap().directory(), directory);
    }
}

#[test]
fn hostile_paths_are_refused() {
    for path in [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a/./b",
        ".git/config",
        "a/.GIT/x",
        ".github/workflows/x.yml",
        "a\0b",
    ] {
        assert!(Manifest::new(vec![file(path, 1)], vec![], vec![]).is_err(), "{path:?}");
        assert!(Manifest::new(vec![], vec![], vec![path.to_owned()]).is_err(), "{path:?}");
    }
    assert!(check_path(&"x".repeat(256)).is_err());
    assert!(check_path("a b/ü\n/\\x").is_ok());
}

#[test]
fn hostile_links_are_refused() {
    for (path, target) in [
        ("l", "/etc/passwd"),
        ("l", "../x"),
        ("a/l", "../../x"),
        ("a/l", "b/../../../x"),
        ("l", ""),
        ("l", "x/../y"),
        ("a/l", "../.git/config"),
        ("l", "a\0"),
    ] {
        assert!(
            Manifest::new(vec![], vec![link(path, target)], vec![]).is_err(),
            "{path} -> {target}"
        );
    }
    for (path, target) in [("a/b/l", "../../x"), ("l", "a/b"), ("l", "./x"), ("a/l", "..")] {
        assert!(
            Manifest::new(vec![], vec![link(path, target)], vec![]).is_ok(),
            "{path} -> {target}"
        );
    }
}

#[test]
fn nothing_may_lie_below_a_link_a_file_or_an_empty_directory() {
    assert!(Manifest::new(vec![file("a/b", 1)], vec![link("a", "c")], vec![]).is_err());
    assert!(Manifest::new(vec![file("a", 1), file("a/b", 1)], vec![], vec![]).is_err());
    assert!(Manifest::new(vec![file("a/b", 1)], vec![], vec!["a".into()]).is_err());
}

#[test]
fn one_name_in_two_normal_forms_is_refused_and_case_is_reported() {
    assert!(Manifest::new(vec![file("e\u{301}", 1), file("\u{e9}", 1)], vec![], vec![]).is_err());
    let manifest = Manifest::new(vec![file("Model", 1), file("model", 1)], vec![], vec![]).unwrap();
    assert_eq!(manifest.case_collisions(), vec![("Model", "model")]);
}

#[test]
fn wrong_sums_order_and_schema_are_refused() {
    let mut wrong = file("a", 3);
    wrong.size = 4;
    assert!(Manifest::new(vec![wrong], vec![], vec![]).is_err());
    assert!(Manifest::new(vec![file("b", 1), file("a", 1)], vec![], vec![]).is_err());
    let huge = File {
        size: u64::MAX,
        parts: vec![Part { blob: BlobId::of(b""), offset: 1, length: u64::MAX }],
        ..file("a", 1)
    };
    assert!(Manifest::new(vec![huge], vec![], vec![]).is_err());
    assert!(
        Manifest::parse(br#"{"schema":"ml-cache/manifest/v2","files":[],"links":[],"dirs":[]}"#)
            .is_err()
    );
    assert!(
        Manifest::parse(
            br#"{"schema":"ml-cache/manifest/v1","files":[],"links":[],"dirs":[],"url":"x"}"#
        )
        .is_err()
    );
    assert!(Manifest::parse(b"[]").is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        names in proptest::collection::btree_set("[a-zA-Z0-9é \\\\\n\"]{1,12}", 0..20),
        size in 0_u64..1000,
    ) {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let files = names.iter().map(|name| file(name, size)).collect();
        if let Ok(manifest) = Manifest::new(files, vec![], vec![]) {
            let bytes = manifest.to_bytes().unwrap();
            prop_assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes);
    }
}

#[test]
fn blobs_are_counted_together() {
    let blob = |size| Blob { id: BlobId::of(b"x"), size, uses: Vec::new() };
    assert_eq!(Blob::total(&[]), 0);
    assert_eq!(Blob::total(&[blob(2), blob(3)]), 5);
    assert_eq!(Blob::total(&[blob(u64::MAX), blob(3)]), u64::MAX);
}
