//! Whether a save creates, replaces or adopts the pointer of its fingerprint.

use jiff::Timestamp;

use super::verdict::{Policy, expired};
use crate::format::pointer::{MAX_PREVIOUS, Previous};
use crate::format::{ManifestId, Pointer};

/// The pointer that the store has already under the same fingerprint.
#[derive(Clone, Copy, Debug)]
pub struct Existing<'a> {
    /// The stored pointer.
    pub pointer: &'a Pointer,
    /// Whether its manifest and all its blobs are in the store.
    pub complete: bool,
    /// Whether the plan found this pointer, or without a plan the start of the save. Otherwise
    /// another run wrote it meanwhile.
    pub is_base: bool,
    /// Whether this job tried to restore its model and failed.
    pub unusable: bool,
    /// Whether this run may replace no pointer, because it is an entry of a merge queue.
    pub protected: bool,
    /// Whether this run must not use the model, because another run may have written it.
    pub forbidden: bool,
}

/// The write that a save must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Create the pointer, on the condition that there is still none.
    Create,
    /// Replace the stored pointer, on the condition that it did not change.
    Replace {
        /// The generation of the new pointer.
        generation: u64,
        /// The earlier generations, newest first, at most [`MAX_PREVIOUS`].
        previous: Vec<Previous>,
    },
    /// Write nothing and use the stored pointer: its model is as good, and its run was first.
    Adopt,
}

/// Decides whether a save after a training creates, replaces or adopts the pointer.
pub fn commit(
    existing: Option<Existing<'_>>,
    manifest: &ManifestId,
    policy: &Policy,
    now: Timestamp,
) -> Commit {
    let Some(existing) = existing.filter(|existing| !existing.protected) else {
        return if existing.is_some() { Commit::Adopt } else { Commit::Create };
    };
    let pointer = existing.pointer;
    let asked_for =
        existing.forbidden || existing.is_base && (policy.force.is_some() || existing.unusable);
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
            let existing = Existing {
                pointer: &pointer,
                complete,
                is_base,
                unusable: false,
                forbidden: false,
                protected: false,
            };
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
        // A save replaces a model that its job could not restore, unless another run replaced it
        // first.
        let foreign = Existing {
            pointer: &pointer,
            complete: true,
            is_base: false,
            unusable: false,
            forbidden: false,
            protected: false,
        };
        for (is_base, adopts) in [(true, false), (false, true)] {
            let existing = Existing { is_base, unusable: true, ..foreign };
            assert_eq!(commit(Some(existing), &other, &always, now) == Commit::Adopt, adopts);
        }
        // A run that must not use the stored model replaces even an equal one. Otherwise its own
        // later jobs would find nothing.
        let forbidden = Existing { forbidden: true, ..foreign };
        for manifest in [other, pointer.manifest.digest] {
            assert_ne!(commit(Some(forbidden), &manifest, &always, now), Commit::Adopt);
        }
    }

    #[test]
    fn an_entry_of_a_merge_queue_replaces_nothing() {
        let pointer =
            Pointer::parse(include_bytes!("../../tests/it/golden/v1/pointer.json")).unwrap();
        let now = pointer.created_at + SignedDuration::from_hours(48);
        let by_input = Forced { by: None, source: ForceSource::Input, detail: "x".to_owned() };
        let daily = Some(SignedDuration::from_hours(24));
        for policy in [
            Policy { force: Some(by_input), max_age: None },
            Policy { force: None, max_age: daily },
            Policy::default(),
        ] {
            let queued = Existing {
                pointer: &pointer,
                complete: false,
                is_base: true,
                unusable: true,
                forbidden: false,
                protected: true,
            };
            let commit = commit(Some(queued), &ManifestId::of(b"other"), &policy, now);
            assert_eq!(commit, Commit::Adopt, "{policy:?}");
        }
    }
}
