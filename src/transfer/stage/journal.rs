//! What a stage says about itself, for the command that finds it after a kill.
//!
//! A pull request may commit a directory that looks like a stage. So moves count only with a mark
//! that names the inode and the time of their list. Nobody can commit these.
//!
//! Another user may run the next command. So the owner of the stage may read all that it says.

use std::io::{self, Read as _, Write as _};

use rustix::fs::{Mode, OFlags, fchmod};

use super::merge::Move;
use crate::beneath::{Beneath, Found, create};

/// The paths of the other places of the restore, as a JSON array.
const PLACES: &str = "places";
/// The moves that put the model in place, as a JSON array.
const MOVES: &str = "moves";
/// The mark of the moves.
const READY: &str = "ready";

const MAX_PLACES: u64 = 1 << 20;
const MAX_MOVES: u64 = 1 << 30;
const MAX_MARK: u64 = 100;

/// The moves of a stage.
#[derive(Debug)]
pub(super) enum Begun {
    /// No move had begun.
    No,
    /// The moves that had begun, and the time before the first of them.
    Moves(Vec<Move>, (i64, u32)),
    /// Moves may have begun, but this process cannot know them, or must not trust them.
    Unusable,
}

/// Notes the other places, before anything is written there.
pub(super) fn note_places(stage: &Beneath, places: &[&str]) -> io::Result<()> {
    file(stage, PLACES)?.write_all(&serde_json::to_vec(places)?)
}

/// Returns the other places that a stage names, in their order. They may be made up.
///
/// # Errors
/// This process cannot read them.
pub(super) fn places(stage: &Beneath) -> io::Result<Vec<String>> {
    match read(stage, PLACES, MAX_PLACES) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if is_denied(&error) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}

/// Notes the moves, before the first of them.
pub(super) fn note_moves(stage: &Beneath, moves: &[Move]) -> io::Result<()> {
    let mut list = io::BufWriter::new(file(stage, MOVES)?);
    serde_json::to_writer(&mut list, moves)?;
    list.flush()?;
    drop(list);
    let found = stage.look(MOVES)?.ok_or(io::ErrorKind::NotFound)?;
    file(stage, READY)?.write_all(mark(&found).as_bytes())
}

/// Says that the moves have ended.
pub(super) fn forget_moves(stage: &Beneath) {
    let _ = rustix::fs::unlinkat(stage, READY, rustix::fs::AtFlags::empty());
}

/// Returns the moves of a stage.
pub(super) fn moves(stage: &Beneath) -> Begun {
    match try_moves(stage) {
        Ok(begun) => begun,
        Err(error) if is_denied(&error) => Begun::Unusable,
        Err(_) => Begun::No,
    }
}

/// Returns whether the moves of a stage may have begun.
pub(super) fn has_begun(stage: &Beneath) -> bool {
    !matches!(moves(stage), Begun::No)
}

fn try_moves(stage: &Beneath) -> io::Result<Begun> {
    let (Some(ready), Some(list)) = (stage.look(READY)?, stage.look(MOVES)?) else {
        return Ok(Begun::No);
    };
    if read(stage, READY, MAX_MARK)? != mark(&list).as_bytes() {
        return Ok(Begun::No);
    }
    // A process that runs as root takes no orders of other users.
    let is_ours = |found: &Found| {
        let is_ours = found.uid == 0 || found.uid == rustix::process::geteuid().as_raw();
        is_ours && found.is_file() && found.names <= 1
    };
    if !is_ours(&ready) || !is_ours(&list) {
        return Ok(Begun::Unusable);
    }
    let moves = serde_json::from_slice(&read(stage, MOVES, MAX_MOVES)?)?;
    Ok(Begun::Moves(moves, ready.modified))
}

/// Returns the moves that a stage names, whoever wrote them. Nothing must be moved by them.
pub(super) fn claimed_moves(stage: &Beneath) -> io::Result<Vec<Move>> {
    Ok(serde_json::from_slice(&read(stage, MOVES, MAX_MOVES)?)?)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Makes a file that the owner of the stage may read. The stage itself keeps other users out.
fn file(stage: &Beneath, name: &str) -> io::Result<std::fs::File> {
    let file = create(stage, name)?;
    fchmod(&file, Mode::from_raw_mode(0o644))?;
    Ok(file)
}

fn mark(list: &Found) -> String {
    format!("{} {} {}\n", list.inode, list.changed.0, list.changed.1)
}

fn read(stage: &Beneath, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stage.file(name, OFlags::RDONLY)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn moves_count_only_where_they_were_noted() {
        let place = tempfile::tempdir().unwrap();
        let (one, copy) = (place.path().join("one"), place.path().join("copy"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&copy).unwrap();
        let stage = Beneath::open(&one).unwrap();
        assert!(matches!(moves(&stage), Begun::No));
        note_moves(&stage, &[]).unwrap();
        assert!(matches!(moves(&stage), Begun::Moves(..)));
        for name in [MOVES, READY] {
            fs::copy(one.join(name), copy.join(name)).unwrap();
        }
        assert!(matches!(moves(&Beneath::open(&copy).unwrap()), Begun::No), "a copy");
        fs::write(one.join(MOVES), "[]").unwrap();
        assert!(matches!(moves(&stage), Begun::No), "written again");
    }

    #[test]
    fn moves_of_another_user_do_not_count() {
        let place = tempfile::tempdir().unwrap();
        let stage = Beneath::open(place.path()).unwrap();
        note_moves(&stage, &[]).unwrap();
        if std::os::unix::fs::chown(place.path().join(READY), Some(12), None).is_err() {
            println!("skipped: only root may give files away");
            return;
        }
        assert!(matches!(moves(&stage), Begun::Unusable));
    }

    #[test]
    fn forgotten_moves_and_odd_places() {
        let place = tempfile::tempdir().unwrap();
        let stage = Beneath::open(place.path()).unwrap();
        assert!(places(&stage).unwrap().is_empty());
        note_places(&stage, &["models/b", "models/a"]).unwrap();
        assert_eq!(places(&stage).unwrap(), ["models/b", "models/a"]);
        note_moves(&stage, &[]).unwrap();
        for name in [PLACES, MOVES, READY] {
            let found = stage.look(name).unwrap().unwrap();
            assert_eq!(found.mode, 0o644, "the owner of the stage reads {name}");
        }
        forget_moves(&stage);
        assert!(matches!(moves(&stage), Begun::No));
        fs::write(place.path().join(PLACES), "{").unwrap();
        assert!(places(&stage).unwrap().is_empty());
    }
}
