//! Archives that lie about their content, as artifacts of this run and of another run.

use super::foreign_pointers::{Means, Scene};
use crate::support::zip::{Entry, archive, zip64_sizes};

const NAME: &str = "pointer.json";

#[test]
fn archives_that_play_tricks_are_refused() {
    let scene = Scene::new();
    // The bytes of a good pointer, which would pass at the right place.
    let good = scene.pointer.to_string().into_bytes();
    let evil = scene.edited(|pointer| pointer["manifest"] = scene.other["manifest"].clone());
    let pointer = |name: &str| Entry::new(name, &good);
    let deflated_bomb = {
        // Deflate's stored blocks would make the bomb as large as its content. The product's own
        // packer compresses it.
        ml_cache::github::archive::pack(&vec![b' '; 100 << 20]).unwrap()
    };
    assert!(deflated_bomb.len() < 128 << 10);
    for (what, bytes) in [
        ("a path upwards", archive(&[pointer("../pointer.json")], None)),
        ("an absolute path", archive(&[pointer("/pointer.json")], None)),
        ("a path of Windows", archive(&[pointer("..\\pointer.json")], None)),
        ("a directory before it", archive(&[pointer("./pointer.json")], None)),
        ("a name that ends early", archive(&[pointer("pointer.json\0.txt")], None)),
        ("another case", archive(&[pointer("POINTER.JSON")], None)),
        ("a symbolic link", archive(&[Entry { mode: 0o120_777, ..pointer(NAME) }], None)),
        ("a device", archive(&[Entry { mode: 0o060_644, ..pointer(NAME) }], None)),
        ("a directory", archive(&[Entry { mode: 0o040_755, ..pointer("pointer.json/") }], None)),
        ("the name twice", archive(&[Entry::new(NAME, &evil), pointer(NAME)], None)),
        (
            "the name twice, the other way round",
            archive(&[pointer(NAME), Entry::new(NAME, &evil)], None),
        ),
        ("the same twice", archive(&[pointer(NAME), pointer(NAME)], None)),
        ("encryption", archive(&[Entry { flags: 1, ..pointer(NAME) }], None)),
        ("a method that nobody knows", archive(&[Entry { method: 99, ..pointer(NAME) }], None)),
        ("a smaller size", archive(&[Entry { size: Some(10), ..pointer(NAME) }], None)),
        ("a larger size", archive(&[Entry { size: Some(1 << 30), ..pointer(NAME) }], None)),
        (
            "zip64 with a smaller size",
            archive(
                &[Entry { size: Some(u32::MAX), extra: zip64_sizes(10, 10), ..pointer(NAME) }],
                None,
            ),
        ),
        (
            "zip64 with a larger size",
            archive(
                &[Entry {
                    size: Some(u32::MAX),
                    extra: zip64_sizes(1 << 60, 1 << 60),
                    ..pointer(NAME)
                }],
                None,
            ),
        ),
        ("zip64 without sizes", archive(&[Entry { size: Some(u32::MAX), ..pointer(NAME) }], None)),
        (
            "fewer entries than there are",
            archive(&[Entry::new(NAME, &evil), pointer(NAME)], Some(1)),
        ),
        ("more entries than there are", archive(&[pointer(NAME)], Some(9))),
        ("no entry", archive(&[], None)),
        ("many entries", archive(&vec![pointer("other"); 17], None)),
        ("a bomb", deflated_bomb),
        ("a pointer after the archive", [archive(&[], None), good.clone()].concat()),
        (
            "the end cut off",
            archive(&[pointer(NAME)], None).split_last_chunk::<8>().unwrap().0.to_vec(),
        ),
        ("damage", {
            let mut bytes = archive(&[pointer(NAME)], None);
            let at = bytes.windows(5).position(|bytes| bytes == b"fraud").unwrap();
            bytes[at] ^= 1;
            bytes
        }),
        ("nothing", Vec::new()),
    ] {
        println!("{what}");
        // With one counted entry, the archive is valid and holds another pointer.
        let other = if what == "fewer entries than there are" {
            "cannot use the pointer"
        } else {
            "too large to hold"
        };
        for means in [Means::Artifact, Means::Run] {
            scene.refuses(means, &bytes, &["the artifact holds no pointer", other]);
        }
    }
}
