//! Must the model be trained again?

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::format::inputs::InputDigests;
use crate::format::pointer::Forced;
use crate::format::{Pointer, Scope};

/// What the user wants beyond "train when the inputs changed".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Train whatever is found, and who says so.
    pub force: Option<Forced>,
    /// Train again when the model is older.
    pub max_age: Option<SignedDuration>,
}

/// What was found in the store under the fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A pointer.
    Found(Box<Found>),
    /// None in any scope that this run reads.
    Absent,
    /// The store could not be looked at. This is never taken for "absent".
    Failed(String),
}

/// A pointer that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The scope it was found in.
    pub scope: Scope,
    /// The pointer.
    pub pointer: Pointer,
    /// How many of its objects are gone.
    pub absent: usize,
    /// How many have another length or checksum.
    pub wrong: usize,
}

/// The verdict in one word, from a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The model is there.
    Hit,
    /// No model was ever saved from comparable inputs.
    NoModel,
    /// Only data differs from the model that the ref used last.
    DataChanged,
    /// Only training code does.
    TrainingChanged,
    /// Only extra keys do.
    ExtraKeyChanged,
    /// More than one of them does.
    InputsChanged,
    /// The user asked for it.
    Forced,
    /// The model is older than `max-age`.
    Expired,
    /// The pointer is there, some bytes are gone.
    Incomplete,
    /// The store could not be looked at and `on-error` is `retrain`.
    StoreUnavailable,
}

impl Reason {
    /// Every reason, for documentation and tests.
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

    /// Returns the word, as outputs carry it.
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

/// Whether a model must be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No: this one is complete, and of exactly these inputs.
    Hit(Box<Found>),
    /// Yes.
    Train(Why),
}

/// Why a model must be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// In a word.
    pub reason: Reason,
    /// In a sentence without a full stop.
    pub explanation: String,
}

impl Decision {
    /// Returns the model that needs no training.
    pub fn hit(&self) -> Option<&Found> {
        match self {
            Self::Hit(found) => Some(found),
            Self::Train(_) => None,
        }
    }

    /// Returns why, in a word and in a sentence without a full stop.
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

/// Decides. `baseline` are the digests of the model that this ref used last, if any.
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
            Some(age) => train(
                Reason::Expired,
                format!("the model of these inputs is {}, older than `max-age`", days(age)),
            ),
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

/// Returns the pointer's age where it is over the limit.
pub fn expired(pointer: &Pointer, policy: &Policy, now: Timestamp) -> Option<SignedDuration> {
    let age = now.duration_since(pointer.created_at);
    policy.max_age.filter(|limit| age > *limit).map(|_| age)
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

/// Returns a duration as a person says it.
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
