//! Every attempt in docs/threat-model.md names a test that exists.

use std::fs;
use std::path::Path;

/// Returns the cells of each numbered row of the table.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    text.lines()
        .filter(|line| line.starts_with("| "))
        .map(cells)
        .filter(|row| row[0].parse::<u32>().is_ok())
        .collect()
}

/// Returns the file and the function that a cell names, such as `` `a.rs`: `b` ``.
fn named(cell: &str) -> (&str, &str) {
    let parts: Vec<&str> = cell.split('`').collect();
    let ["", file, ": ", function, ""] = parts[..] else {
        panic!("{cell:?} does not name a file and a function")
    };
    (file, function)
}

#[test]
fn every_attempt_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rows(&fs::read_to_string(root.join("docs/threat-model.md")).unwrap());
    assert!(rows.len() >= 24, "only {} attempts", rows.len());
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.len(), 4, "{row:?}");
        assert_eq!(row[0], (index + 1).to_string());
        let (file, function) = named(&row[3]);
        let path = if file.starts_with("src/") || file.starts_with("tests/") {
            root.join(file)
        } else {
            root.join("tests/it").join(file)
        };
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if file.ends_with(".mjs") {
            assert!(
                text.contains(&format!("\ntest('{function}',")),
                "{file} has no test '{function}'"
            );
            continue;
        }
        let definition = format!("fn {function}()");
        let place = text.find(&definition).unwrap_or_else(|| panic!("{file} has no {definition}"));
        let before = text[..place].trim_end();
        assert!(before.ends_with("#[test]"), "{function} in {file} is no test");
    }
}
