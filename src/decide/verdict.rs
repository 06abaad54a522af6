//! Whether the model must be trained again.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::format::inputs::InputDigests;
use crate::format::pointer::Forced;
use crate::format::{Pointer, Scope};

/// The largest accepted difference between the clocks of two machines.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// The user's reasons to train although the inputs did not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who forces a training, and how. A forced training ignores any stored model.
    pub force: Option<Forced>,
    /// A model older than this limit is trained again; `None` for no limit.
    pub max_age: Option<SignedDuration>,
}

/// The answer of the store for a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The store has a pointer, though some of its objects may be missing.
    Found(Box<Found>),
    /// No scope that this run reads has a pointer.
    Absent,
    /// The store could not be read; the text says why. It must never count as `Absent`.
    Failed(String),
}

/// A stored pointer and the state of its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The scope that holds the pointer.
    pub scope: Scope,
    /// The pointer, checked against model, scope and fingerprint.
    pub pointer: Pointer,
    /// The number of missing objects; a missing manifest counts as 1.
    pub absent: usize,
    /// The number of blobs with a wrong length or checksum.
    pub wrong: usize,
}

impl Found {
    /// Returns whether the store has every object of the model, each with the right length.
    pub fn is_complete(&self) -> bool {
        self.absent == 0 && self.wrong == 0
    }
}

/// The verdict as a word from a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The store has a complete model of exactly these inputs.
    Hit,
    /// There is no earlier model to compare with, or the pointer of an equal model is gone.
    NoModel,
    /// Of the inputs, only the data differs from the model that the ref used last.
    DataChanged,
    /// Of the inputs, only the training code differs from that model.
    TrainingChanged,
    /// Of the inputs, only the extra keys differ from that model.
    ExtraKeyChanged,
    /// At least two of data, training code and extra keys differ from that model.
    InputsChanged,
    /// The user forces a training.
    Forced,
    /// The model is older than `max-age`.
    Expired,
    /// The store has the pointer, but some objects of the model are missing or damaged.
    Incomplete,
    /// The store cannot be read, and `on-error` is `retrain`.
    StoreUnavailable,
}

impl Reason {
    /// All reasons. A test checks that the documentation of the output `reason` names each of them.
    pub const ALL: &[Self] = &[
        Self::Hit,
        Self::NoModel,
        Self::DataChanged,
        Self::TrainingChanged,
        Self::ExtraKeyChanged,
        Self::InputsChanged,
        Self::Forced,
        Self::Expired,
        Self::Incomplete,
        Self::StoreUnavailable,
    ];

    /// Returns the word of the output `reason`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::NoModel => "no-model",
            Self::DataChanged => "data-changed",
            Self::TrainingChanged => "training-changed",
            Self::ExtraKeyChanged => "extra-key-changed",
            Self::InputsChanged => "inputs-changed",
            Self::Forced => "forced",
            Self::Expired => "expired",
            Self::Incomplete => "incomplete",
            Self::StoreUnavailable => "store-unavailable",
        }
    }
}

/// The verdict: use the stored model, or train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Use this model: it is complete, and it comes from exactly these inputs.
    Hit(Box<Found>),
    /// Train a model.
    Train(Why),
}

/// The reason for a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The reason as a word from the closed list.
    pub reason: Reason,
    /// The reason as a sentence without a full stop.
    pub explanation: String,
}

impl Decision {
    /// Returns the stored model if it needs no training.
    pub fn hit(&self) -> Option<&Found> {
        match self {
            Self::Hit(found) => Some(found),
            Self::Train(_) => None,
        }
    }

    /// Returns the reason for either verdict.
    pub fn why(&self) -> Why {
        match self {
            Self::Hit(found) => Why {
                reason: Reason::Hit,
                explanation: format!(
                    "a model of exactly these inputs is in the scope `{}`",
                    found.scope
                ),
            },
            Self::Train(why) => why.clone(),
        }
    }
}

/// Decides whether to train.
///
/// `baseline` holds the digests of the model that this ref used last; `None` if there is none.
pub fn decide(
    inputs: &InputDigests,
    lookup: &Lookup,
    baseline: Option<&InputDigests>,
    policy: &Policy,
    now: Timestamp,
) -> Decision {
    let train = |reason, explanation: String| Decision::Train(Why { reason, explanation });
    if let Some(forced) = &policy.force {
        return train(Reason::Forced, format!("{forced} forces a new training"));
    }
    match lookup {
        Lookup::Failed(why) => {
            train(Reason::StoreUnavailable, format!("the store could not be read: {why}"))
        }
        Lookup::Found(found) if found.absent + found.wrong > 0 => train(
            Reason::Incomplete,
            format!(
                "a model of these inputs was saved, but it is incomplete; missing or damaged \
                 objects: {}",
                found.absent + found.wrong
            ),
        ),
        Lookup::Found(found) => match expired(&found.pointer, policy, now) {
            Some(why) => train(Reason::Expired, format!("the model of these inputs is {why}")),
            None => Decision::Hit(found.clone()),
        },
        Lookup::Absent => match baseline {
            None => train(Reason::NoModel, "no model was saved before".to_owned()),
            Some(baseline) => {
                let (reason, what) = difference(baseline, inputs);
                train(reason, what.to_owned())
            }
        },
    }
}

/// Returns why the model is expired, for "the model is …"; `None` if it is not.
///
/// A date in the future says nothing about the age. So such a model counts as expired if there is
/// a `max-age`.
pub fn expired(pointer: &Pointer, policy: &Policy, now: Timestamp) -> Option<String> {
    let limit = policy.max_age?;
    let age = now.duration_since(pointer.created_at);
    if age < -CLOCK_SKEW {
        let date = pointer.created_at.strftime("%Y-%m-%d %H:%M UTC");
        return Some(format!("dated {date}, in the future, so it counts as older than `max-age`"));
    }
    (age > limit).then(|| format!("{}, older than `max-age`", days(age)))
}

fn difference(old: &InputDigests, new: &InputDigests) -> (Reason, &'static str) {
    match (old.data != new.data, old.training != new.training, old.extra != new.extra) {
        (true, false, false) => (Reason::DataChanged, "the data changed since the last model"),
        (false, true, false) => {
            (Reason::TrainingChanged, "the training code changed since the last model")
        }
        (false, false, true) => {
            (Reason::ExtraKeyChanged, "an extra key changed since the last model")
        }
        (false, false, false) => {
            (Reason::NoModel, "the last model had the same inputs, but its pointer is gone")
        }
        _ => (Reason::InputsChanged, "several inputs changed since the last model"),
    }
}

/// Returns an age in days, hours or minutes: days from 48 hours on, minutes below 2 hours.
pub fn days(age: SignedDuration) -> String {
    let hours = age.as_hours();
    match hours {
        48.. => format!("{} days old", hours / 24),
        2..48 => format!("{hours} hours old"),
        _ => format!("{} minutes old", age.as_mins()),
    }
}

#[cfg(test)]
mod tests;
