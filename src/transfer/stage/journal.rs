//! What a stage says about itself, for the command that finds it after a kill.
//!
//! A pull request may commit a directory that looks like a stage. So moves count only with a mark
//! that names the inode and the time of their list. Nobody can commit these.

use std::io::{self, Read as _, Write as _};

use rustix::fs::OFlags;

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

/// Notes the other places, before anything is written there.
pub(super) fn note_places(stage: &Beneath, places: &[&str]) -> io::Result<()> {
    create(stage, PLACES)?.write_all(&serde_json::to_vec(places)?)
}

/// Returns the other places that a stage names. They may be made up.
pub(super) fn places(stage: &Beneath) -> Vec<String> {
    read(stage, PLACES, MAX_PLACES)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Notes the moves, before the first of them.
pub(super) fn note_moves(stage: &Beneath, moves: &[Move]) -> io::Result<()> {
    let mut list = io::BufWriter::new(create(stage, MOVES)?);
    serde_json::to_writer(&mut list, moves)?;
    list.flush()?;
    drop(list);
    let found = stage.look(MOVES)?.ok_or(io::ErrorKind::NotFound)?;
    create(stage, READY)?.write_all(mark(&found).as_bytes())
}

/// Says that the moves have ended.
pub(super) fn forget_moves(stage: &Beneath) {
    let _ = rustix::fs::unlinkat(stage, READY, rustix::fs::AtFlags::empty());
}

/// Returns the moves that had begun, and the time before the first of them.
pub(super) fn moves(stage: &Beneath) -> Option<(Vec<Move>, (i64, u32))> {
    let ours = |name| {
        let found = stage.look(name).ok()??;
        // A process that runs as root takes no orders of other users.
        let is_ours = found.uid == 0 || found.uid == rustix::process::geteuid().as_raw();
        (is_ours && found.is_file() && found.names <= 1).then_some(found)
    };
    let (ready, list) = (ours(READY)?, ours(MOVES)?);
    let text = read(stage, READY, MAX_MARK).ok()?;
    if text != mark(&list).as_bytes() {
        return None;
    }
    let moves = serde_json::from_slice(&read(stage, MOVES, MAX_MOVES).ok()?).ok()?;
    Some((moves, ready.modified))
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
        assert!(moves(&stage).is_none());
        note_moves(&stage, &[]).unwrap();
        assert!(moves(&stage).is_some());
        for name in [MOVES, READY] {
            fs::copy(one.join(name), copy.join(name)).unwrap();
        }
        assert!(moves(&Beneath::open(&copy).unwrap()).is_none(), "a copy");
        fs::write(one.join(MOVES), "[]").unwrap();
        assert!(moves(&stage).is_none(), "written again");
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
        assert!(moves(&stage).is_none());
    }

    #[test]
    fn forgotten_moves_and_odd_places() {
        let place = tempfile::tempdir().unwrap();
        let stage = Beneath::open(place.path()).unwrap();
        assert!(places(&stage).is_empty());
        note_places(&stage, &["models/a"]).unwrap();
        assert_eq!(places(&stage), ["models/a"]);
        note_moves(&stage, &[]).unwrap();
        forget_moves(&stage);
        assert!(moves(&stage).is_none());
        fs::write(place.path().join(PLACES), "{").unwrap();
        assert!(places(&stage).is_empty());
    }
}
