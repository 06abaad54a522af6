//! Stages that a killed restore left: their moves are completed, and the rest is removed.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;

use super::journal::{self, Begun};
use super::merge::{self, Ground, Move};
use super::place::Place;
use crate::beneath::{Beneath, remove};
use crate::format::Manifest;

/// The new files of a stage, at their paths below its place.
pub(super) const NEW: &str = "new";
/// The old files that moves replace, by the numbers of the moves.
pub(super) const OLD: &str = "old";

/// The state of the model after a killed restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// It is as before that restore, or as after it. The stage is gone.
    Whole,
    /// It may have old and new files together. The stage is still there.
    Half,
}

/// Completes the moves of an abandoned stage if they had begun, and removes the stage. A stage
/// whose moves cannot be completed stays.
///
/// The caller holds the lock of the place.
///
/// # Errors
/// Something stays, but the model is as before.
pub(super) fn clear(main: &Place, name: &str) -> io::Result<Model> {
    let stage = main.directory.within(name)?;
    let (others, model) = match journal::moves(&stage) {
        Begun::No => (others(main, &stage)?, Model::Whole),
        Begun::Unusable => return Ok(Model::Half),
        Begun::Moves(moves, since) => {
            let others = others(main, &stage)?;
            let model = complete(main, &others, name, &moves, since);
            if model == Model::Whole {
                // A kill during the removal must not look like a kill between the moves.
                journal::forget_moves(&stage);
            }
            (others, model)
        }
    };
    if model == Model::Whole {
        remove_at(&others, main, name)?;
    }
    Ok(model)
}

/// Removes a stage whose moves were not completed, if a restore of this model has written all of
/// its files since.
///
/// # Errors
/// Something stays.
pub(super) fn forget(main: &Place, name: &str, manifest: &Manifest) -> io::Result<()> {
    let stage = main.directory.within(name)?;
    let places = journal::places(&stage)?;
    let wanted: BTreeSet<&str> = manifest.paths().collect();
    let is_written = |step: &Move| {
        let above = match step.ground {
            0 => Some(""),
            number => places.get(number - 1).map(String::as_str),
        };
        let path = match above {
            Some("") => step.path.clone(),
            Some(above) => format!("{above}/{}", step.path),
            None => return false,
        };
        // A new directory moves as a whole.
        let below = format!("{path}/");
        let is_above = |wanted: &&str| wanted.starts_with(&below);
        wanted.contains(path.as_str())
            || wanted.range(below.as_str()..).next().is_some_and(is_above)
    };
    match journal::claimed_moves(&stage)?.iter().all(is_written) {
        true => remove_at(&others(main, &stage)?, main, name),
        false => Ok(()),
    }
}

fn remove_at(others: &[Option<Place>], main: &Place, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    in_order(others.iter().flatten(), main, |place| remove(&place.directory, &name))
}

/// Removes the stage at each place. The main stage names the others, so it goes last, and only if
/// they are gone.
pub(super) fn in_order<T>(
    others: impl Iterator<Item = T>,
    main: T,
    mut remove: impl FnMut(T) -> io::Result<()>,
) -> io::Result<()> {
    let mut result = Ok(());
    for other in others {
        result = result.and(remove(other));
    }
    result.and_then(|()| remove(main))
}

/// Locks the other places of a stage, in the order of the stage. A place is `None` if there is no
/// mount any more.
fn others(main: &Place, stage: &Beneath) -> io::Result<Vec<Option<Place>>> {
    let mut seen = BTreeSet::new();
    let mut others = Vec::new();
    for at in journal::places(stage)? {
        let Ok(directory) = main.directory.within(&at) else {
            others.push(None);
            continue;
        };
        let is_mount = directory.look("")?.is_some_and(|found| found.mount != main.mount);
        others.push(match is_mount && seen.insert(at.clone()) {
            // Another restore may be at work there.
            true => Some(Place::try_lock_other(&at, directory)?),
            false => None,
        });
    }
    Ok(others)
}

/// Completes the moves, or takes them back, unless someone has changed the model since.
fn complete(
    main: &Place,
    others: &[Option<Place>],
    name: &str,
    moves: &[Move],
    since: (i64, u32),
) -> Model {
    let places = [Some(main)].into_iter().chain(others.iter().map(Option::as_ref));
    let grounds: Option<Vec<Ground<'_>>> =
        places.map(|place| place.and_then(|place| ground(place, name).ok())).collect();
    let Some(grounds) = grounds else { return Model::Half };
    let is_whole = match merge::can_go_on(&grounds, moves, since) {
        // After an error, everything is taken back.
        true => merge::carry_out(&grounds, moves).err().is_none_or(|it| it.stuck.is_none()),
        false => !merge::is_between(&grounds, moves),
    };
    match is_whole {
        true => Model::Whole,
        false => Model::Half,
    }
}

/// Opens the stage of a place.
pub(super) fn ground<'a>(place: &'a Place, name: &str) -> io::Result<Ground<'a>> {
    let stage = place.directory.within(name)?;
    Ok(Ground { new: stage.within(NEW)?, old: stage.directory(OLD)?, target: &place.directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_stage_stays_until_all_others_are_gone() {
        for (stuck, wanted) in [
            ("none", &["vol", "deep", "main"][..]),
            ("vol", &["deep"]),
            ("deep", &["vol"]),
            ("main", &["vol", "deep"]),
        ] {
            let mut gone = Vec::new();
            let remove = |place| {
                if place == stuck {
                    return Err(io::Error::from(io::ErrorKind::CrossesDevices));
                }
                gone.push(place);
                Ok(())
            };
            let result = in_order(["vol", "deep"].into_iter(), "main", remove);
            assert_eq!(result.is_ok(), stuck == "none");
            assert_eq!(gone, wanted, "{stuck}");
        }
    }
}
