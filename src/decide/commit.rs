//! What a save does to the pointer.

use jiff::Timestamp;

use super::verdict::{Policy, expired};
use crate::format::pointer::{MAX_PREVIOUS, Previous};
use crate::format::{ManifestId, Pointer};

/// The pointer that is in the way of a new one.
#[derive(Clone, Copy, Debug)]
pub struct Existing<'a> {
    /// What it says.
    pub pointer: &'a Pointer,
    /// Whether its manifest and all its blobs are in the store.
    pub complete: bool,
    /// Whether it was there before this training began; otherwise another run was faster.
    pub is_base: bool,
    /// Whether its model could not be put in place in this job.
    pub unusable: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Write the first pointer of this fingerprint, if there is still none.
    Create,
    /// Replace the one that was found, if it is still the same.
    Replace {
        /// Its successor's generation.
        generation: u64,
        /// Its successor's history, newest first.
        previous: Vec<Previous>,
    },
    /// Leave the one that was found: it is as good, and it was first.
    Adopt,
}

/// Decides what happens to the pointer of a fingerprint that was trained again.
pub fn commit(
    existing: Option<Existing<'_>>,
    manifest: &ManifestId,
    policy: &Policy,
    now: Timestamp,
) -> Commit {
    let Some(existing) = existing else { return Commit::Create };
    let pointer = existing.pointer;
    let asked_for = existing.is_base && (policy.force.is_some() || existing.unusable);
    let outdated = expired(pointer, policy, now).is_some();
    let is_same = pointer.manifest.digest == *manifest;
    if !asked_for && !outdated && (is_same || existing.complete) {
        return Commit::Adopt;
    }
    let mut previous =
        vec![Previous { generation: pointer.generation, manifest: pointer.manifest.digest }];
    previous.extend(pointer.previous.iter().cloned());
    previous.truncate(MAX_PREVIOUS);
    Commit::Replace { generation: pointer.generation + 1, previous }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::format::pointer::{ForceSource, Forced};

    #[test]
    fn the_table_of_commits() {
        let pointer =
            Pointer::parse(include_bytes!("../../tests/it/golden/v1/pointer.json")).unwrap();
        let now = pointer.created_at + SignedDuration::from_hours(48);
        let other = ManifestId::of(b"other");
        let always = Policy::default();
        let by_input =
            Forced { by: None, source: ForceSource::Input, detail: "force-retrain".to_owned() };
        let forced = Policy { force: Some(by_input), max_age: None };
        let daily = Policy { force: None, max_age: Some(SignedDuration::from_hours(24)) };
        assert_eq!(commit(None, &other, &forced, now), Commit::Create);
        for (complete, is_base, policy, same, adopts) in [
            (true, true, &always, false, true),
            (true, false, &always, false, true),
            (true, true, &always, true, true),
            (false, true, &always, false, false),
            (false, false, &always, false, false),
            (true, true, &forced, false, false),
            (true, true, &forced, true, false),
            (true, false, &forced, false, true),
            (true, true, &daily, false, false),
            (true, false, &daily, false, false),
        ] {
            let existing = Existing { pointer: &pointer, complete, is_base, unusable: false };
            let manifest = if same { pointer.manifest.digest } else { other };
            let commit = commit(Some(existing), &manifest, policy, now);
            assert_eq!(commit == Commit::Adopt, adopts, "{complete} {is_base} {policy:?} {same}");
            if let Commit::Replace { generation, previous } = commit {
                assert_eq!(generation, pointer.generation + 1);
                assert_eq!(
                    previous[0],
                    Previous { generation: pointer.generation, manifest: pointer.manifest.digest }
                );
                assert_eq!(previous.len(), pointer.previous.len() + 1);
            }
        }
        // What could not be put in place is replaced, unless somebody else has replaced it
        // meanwhile.
        for (is_base, adopts) in [(true, false), (false, true)] {
            let existing = Existing { pointer: &pointer, complete: true, is_base, unusable: true };
            assert_eq!(commit(Some(existing), &other, &always, now) == Commit::Adopt, adopts);
        }
    }
}
