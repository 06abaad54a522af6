//! Whether a destination holds anything.

use std::fs;
use std::io;
use std::path::Path;

use super::destination::PREFIX;

/// Returns whether there is nothing at the path, or a directory without entries. Abandoned stages
/// do not count, because the next restore removes them.
pub fn is_vacant(path: &Path) -> bool {
    let is_stage = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.file_name().to_string_lossy().starts_with(PREFIX)
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
    };
    match fs::symlink_metadata(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(found) if !found.is_dir() => false,
        Ok(_) => fs::read_dir(path).is_ok_and(|mut entries| entries.all(is_stage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_or_empty_directory_is_vacant() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("empty")).unwrap();
        fs::create_dir_all(at("killed").join(format!("{PREFIX}x/models"))).unwrap();
        fs::create_dir_all(at("full/sub")).unwrap();
        fs::create_dir_all(at("odd")).unwrap();
        fs::write(at("odd").join(format!("{PREFIX}x")), "").unwrap();
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("empty", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for (name, wanted) in [
            ("new", true),
            ("new/deeper", true),
            ("empty", true),
            ("killed", true),
            ("full", false),
            ("odd", false),
            ("file", false),
            ("file/below", false),
            ("link", false),
            ("dangling", false),
        ] {
            assert_eq!(is_vacant(&at(name)), wanted, "{name}");
        }
    }
}
