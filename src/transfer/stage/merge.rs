//! Moves files into place one by one, if the directory cannot be exchanged as a whole: all of them,
//! or none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, linkat, renameat};
use serde::{Deserialize, Serialize};

use crate::beneath::{Beneath, Found, enter, entries, look, look_at};

/// A place where files move.
pub(super) struct Ground<'a> {
    /// The new files.
    pub(super) new: Beneath,
    /// The directory for the old files that new files replace.
    pub(super) old: OwnedFd,
    /// The directory into which the new files move.
    pub(super) target: &'a Beneath,
}

/// A file, link or new directory that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    pub(super) ground: usize,
    pub(super) path: String,
    /// The inode that moves.
    inode: u64,
    /// The inode that it replaces.
    replaces: Option<u64>,
}

/// Lists the moves that put everything in place.
///
/// A failed exchange may have left hard links to files of the target. They stay.
pub(super) fn plan(grounds: &[Ground<'_>]) -> io::Result<Vec<Move>> {
    let mut moves = Vec::new();
    for (index, ground) in grounds.iter().enumerate() {
        list(index, &ground.new, ground.target, "", &mut moves)?;
    }
    Ok(moves)
}

fn list(
    ground: usize,
    from: impl AsFd,
    to: impl AsFd,
    above: &str,
    moves: &mut Vec<Move>,
) -> io::Result<()> {
    for name in entries(&from)? {
        // The stage holds names of a manifest, which are UTF-8, and links to files of the target.
        let Ok(text) = name.to_str() else { continue };
        let Some(source) = look(&from, &name)? else { continue };
        let path = if above.is_empty() { text.to_owned() } else { format!("{above}/{text}") };
        let target = look(&to, &name)?;
        match target {
            Some(target) if target.is_dir() && source.is_dir() => {
                list(ground, enter(&from, &name)?, enter(&to, &name)?, &path, moves)?;
                continue;
            }
            Some(target) if source.names > 1 && target.is_same_file(&source) => continue,
            Some(target) if target.is_dir() => {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            _ => {}
        }
        let replaces = target.map(|target| target.inode);
        moves.push(Move { ground, path, inode: source.inode, replaces });
    }
    Ok(())
}

/// A failed move. Everything is as before, unless `stuck` names a file that could not be put back.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) path: String,
    pub(super) error: io::Error,
    pub(super) stuck: Option<String>,
}

/// Makes the moves. After an error, it takes back all that it made.
pub(super) fn carry_out(grounds: &[Ground<'_>], moves: &[Move]) -> Result<(), Failed> {
    for (number, step) in moves.iter().enumerate() {
        if let Err(error) = forward(&grounds[step.ground], number, step) {
            let undone = moves[..=number].iter().enumerate().rev();
            let mut stuck = None;
            for (number, step) in undone {
                if back(&grounds[step.ground], number, step).is_err() {
                    stuck.get_or_insert_with(|| step.path.clone());
                }
            }
            return Err(Failed { path: step.path.clone(), error, stuck });
        }
    }
    Ok(())
}

fn forward(ground: &Ground<'_>, number: usize, step: &Move) -> io::Result<()> {
    let (to, name) = ground.target.parent(&step.path)?;
    let (from, _) = ground.new.parent(&step.path)?;
    if look_at(&from, name)?.is_none() {
        // An earlier process moved it, before it was killed.
        return match is(look_at(&to, name)?, step.inode) {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
    }
    let kept = number.to_string();
    if step.replaces.is_some() && look_at(&ground.old, &kept)?.is_none() {
        // With a second name for the old file, there is a file in place at every moment.
        if linkat(&to, name, &ground.old, &kept, AtFlags::empty()).is_err() {
            renameat(&to, name, &ground.old, &kept)?;
        }
    }
    Ok(renameat(&from, name, &to, name)?)
}

fn back(ground: &Ground<'_>, number: usize, step: &Move) -> io::Result<()> {
    let (to, name) = ground.target.parent(&step.path)?;
    let (from, _) = ground.new.parent(&step.path)?;
    if look_at(&from, name)?.is_none() {
        renameat(&to, name, &from, name)?;
    }
    let kept = number.to_string();
    match look_at(&ground.old, &kept)? {
        Some(_) => Ok(renameat(&ground.old, &kept, &to, name)?),
        None => Ok(()),
    }
}

/// Returns whether the moves can still be completed: each file is where they left it, and no file
/// that they replace has changed since that time.
pub(super) fn can_go_on(grounds: &[Ground<'_>], moves: &[Move], since: (i64, u32)) -> bool {
    moves.iter().enumerate().all(|(number, step)| {
        grounds
            .get(step.ground)
            .is_some_and(|ground| is_as_left(ground, number, step, since).unwrap_or(false))
    })
}

/// Returns whether some files have moved and others have not. Where that cannot be told, they have.
pub(super) fn is_between(grounds: &[Ground<'_>], moves: &[Move]) -> bool {
    let mut states = moves.iter().enumerate().map(|(number, step)| {
        let ground = grounds.get(step.ground).ok_or(io::ErrorKind::NotFound)?;
        has_moved(ground, number, step)
    });
    match states.next() {
        None => false,
        Some(Err(_)) => true,
        Some(Ok(first)) => states.any(|state| !state.is_ok_and(|state| state == first)),
    }
}

/// Returns whether the old file is no longer in place.
fn has_moved(ground: &Ground<'_>, number: usize, step: &Move) -> io::Result<bool> {
    let (from, name) = ground.new.parent(&step.path)?;
    if look_at(&from, name)?.is_none() {
        return Ok(true);
    }
    let target = ground.target.look(&step.path)?;
    Ok(target.is_none() && look_at(&ground.old, &number.to_string())?.is_some())
}

fn is_as_left(
    ground: &Ground<'_>,
    number: usize,
    step: &Move,
    since: (i64, u32),
) -> io::Result<bool> {
    let (to, name) = ground.target.parent(&step.path)?;
    let (from, _) = ground.new.parent(&step.path)?;
    let (source, target) = (look_at(&from, name)?, look_at(&to, name)?);
    if source.is_none() {
        return Ok(is(target, step.inode));
    }
    let kept = look_at(&ground.old, &number.to_string())?;
    let replaced = match (step.replaces, target, kept) {
        (None, None, _) => true,
        (Some(inode), Some(target), _) => target.inode == inode && target.modified <= since,
        (Some(inode), None, Some(kept)) => kept.inode == inode,
        _ => false,
    };
    Ok(is(source, step.inode) && replaced)
}

fn is(found: Option<Found>, inode: u64) -> bool {
    found.is_some_and(|found| found.inode == inode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const NOW: (i64, u32) = (i64::MAX, 0);

    fn layout() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("new/a", "new"),
            ("new/b", "new"),
            ("new/sub/c", "new"),
            ("new/fresh/d", "new"),
            ("to/a", "old"),
            ("to/sub/c", "old"),
            ("to/sub/kept", "kept"),
            ("to/b", "old"),
        ] {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir(place.path().join("old")).unwrap();
        place
    }

    fn ground<'a>(place: &Path, target: &'a Beneath) -> [Ground<'a>; 1] {
        let new = Beneath::open(&place.join("new")).unwrap();
        let old = Beneath::open(place).unwrap().directory("old").unwrap();
        [Ground { new, old, target }]
    }

    fn contents(place: &Path) -> Vec<String> {
        let read = |name: &str| fs::read_to_string(place.join("to").join(name));
        ["a", "b", "sub/c", "sub/kept", "fresh/d"]
            .iter()
            .map(|name| read(name).unwrap_or_default())
            .collect()
    }

    const OLD: [&str; 5] = ["old", "old", "old", "kept", ""];
    const NEW: [&str; 5] = ["new", "new", "new", "kept", "new"];

    #[test]
    fn all_files_move() {
        let place = layout();
        let target = Beneath::open(&place.path().join("to")).unwrap();
        let grounds = ground(place.path(), &target);
        carry_out(&grounds, &plan(&grounds).unwrap()).unwrap();
        assert_eq!(contents(place.path()), NEW);
    }

    #[test]
    fn a_failure_takes_every_move_back() {
        for missing in 0..4 {
            let place = layout();
            let target = Beneath::open(&place.path().join("to")).unwrap();
            let grounds = ground(place.path(), &target);
            let mut moves = plan(&grounds).unwrap();
            assert_eq!(moves.len(), 4);
            // This step fails: its parent is not there.
            let path = "nowhere/x".to_owned();
            moves.insert(missing, Move { ground: 0, path, inode: 1, replaces: None });
            let failed = carry_out(&grounds, &moves).unwrap_err();
            assert_eq!(failed.path, "nowhere/x");
            assert_eq!(contents(place.path()), OLD, "{missing}");
        }
    }

    #[test]
    fn moves_that_were_broken_off_anywhere_can_be_completed() {
        for (done, linked) in (0..=4).flat_map(|done| [(done, false), (done, true)]) {
            let place = layout();
            let target = Beneath::open(&place.path().join("to")).unwrap();
            let grounds = ground(place.path(), &target);
            let moves = plan(&grounds).unwrap();
            for (number, step) in moves[..done].iter().enumerate() {
                forward(&grounds[0], number, step).unwrap();
            }
            if let Some(next) = moves.get(done).filter(|next| linked && next.replaces.is_some()) {
                let (to, name) = target.parent(&next.path).unwrap();
                renameat(&to, name, &grounds[0].old, done.to_string()).unwrap();
            }
            assert!(can_go_on(&grounds, &moves, NOW), "{done}");
            let is_away = linked && moves.get(done).is_some_and(|next| next.replaces.is_some());
            let moved = done + usize::from(is_away);
            assert_eq!(is_between(&grounds, &moves), (1..moves.len()).contains(&moved), "{done}");
            carry_out(&grounds, &moves).unwrap();
            assert_eq!(contents(place.path()), NEW, "{done}");
        }
    }

    #[test]
    fn moves_are_not_completed_over_later_work() {
        let changes: [fn(&Path); 4] = [
            |to| fs::remove_dir_all(to.join("sub")).unwrap(),
            |to| {
                fs::remove_file(to.join("a")).unwrap();
                fs::write(to.join("a"), "later").unwrap();
            },
            |to| fs::create_dir(to.join("fresh")).unwrap(),
            |to| fs::remove_file(to.join("b")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            for done in [0, 4] {
                if done == 4 && number == 2 {
                    continue;
                }
                let place = layout();
                let target = Beneath::open(&place.path().join("to")).unwrap();
                let grounds = ground(place.path(), &target);
                let moves = plan(&grounds).unwrap();
                for (number, step) in moves[..done].iter().enumerate() {
                    forward(&grounds[0], number, step).unwrap();
                }
                // An inode that is still held cannot be the number of a new file.
                let _held = fs::File::open(place.path().join("to/a")).unwrap();
                change(&place.path().join("to"));
                assert!(!can_go_on(&grounds, &moves, NOW), "{number} after {done}");
            }
        }
        let place = layout();
        let target = Beneath::open(&place.path().join("to")).unwrap();
        let grounds = ground(place.path(), &target);
        let moves = plan(&grounds).unwrap();
        assert!(!can_go_on(&grounds, &moves, (0, 0)), "an old file has changed since 1970");
    }
}
