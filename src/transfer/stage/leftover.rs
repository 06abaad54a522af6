//! Stages that a killed restore left: their moves are completed, and the rest is removed.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;

use super::journal;
use super::merge::{self, Ground};
use super::place::Place;
use crate::beneath::{Beneath, remove};

/// The new files of a stage, at their paths below its place.
pub(super) const NEW: &str = "new";
/// The old files that moves replace, by the numbers of the moves.
pub(super) const OLD: &str = "old";

/// Completes the moves of an abandoned stage if they had begun, and removes the stage.
///
/// The caller holds the lock of the place.
///
/// # Errors
/// Something stays.
pub(super) fn clear(main: &Place, name: &str) -> io::Result<()> {
    let mut others = Vec::new();
    if let Ok(stage) = main.directory.within(name) {
        let named: BTreeSet<String> = journal::places(&stage).into_iter().collect();
        for at in named {
            if let Ok(directory) = main.directory.within(&at)
                && directory.look("")?.is_some_and(|found| found.mount != main.mount)
            {
                // Another restore may be at work there.
                others.push(Place::try_lock(&at, directory)?);
            }
        }
        complete(main, &others, name, &stage);
    }
    for place in others.iter().chain([main]) {
        remove(&place.directory, &CString::new(name)?)?;
    }
    Ok(())
}

/// Completes the moves, unless someone has changed the model since.
fn complete(main: &Place, others: &[Place], name: &str, stage: &Beneath) {
    let Some((moves, since)) = journal::moves(stage) else { return };
    let places = [main].into_iter().chain(others);
    let grounds: io::Result<Vec<Ground<'_>>> = places.map(|place| ground(place, name)).collect();
    if let Ok(grounds) = grounds
        && merge::can_go_on(&grounds, &moves, since)
    {
        // After an error, the files are as the killed restore left them.
        let _ = merge::carry_out(&grounds, &moves);
    }
}

/// Opens the stage of a place.
pub(super) fn ground<'a>(place: &'a Place, name: &str) -> io::Result<Ground<'a>> {
    let stage = place.directory.within(name)?;
    Ok(Ground { new: stage.within(NEW)?, old: stage.directory(OLD)?, target: &place.directory })
}
