//! The facts that a plan hands over to its save, in the same process or through the runner.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::format::pointer::Forced;
use crate::format::{Fingerprint, InputsDocument, Nonce};

/// The facts about a plan that its save needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The fingerprint of the inputs at the time of the plan.
    pub fingerprint: Fingerprint,
    /// The inputs at the time of the plan. The save compares with them to name the changed inputs.
    /// The state keeps them in a file of their own.
    #[serde(skip)]
    pub document: Option<InputsDocument>,
    /// The run's own pointer before the training. A forced training or a failed restore lets the
    /// save replace only this pointer.
    pub seen: Seen,
    /// The result of the restore.
    pub stored: Stored,
    /// Who forced the training, and how. The save does not ask GitHub again, because the answer may
    /// be different or missing by then.
    pub forced: Option<Forced>,
    /// The earliest time at which the training can have begun; `None` if the time is unknown.
    pub began: Option<Timestamp>,
}

/// The pointer of these inputs in the run's own scope, at the time of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The plan could not read the store.
    Unknown,
    /// The plan found no pointer in the run's own scope, or used the pointer of another scope.
    Nothing,
    /// The plan found the pointer with this nonce.
    Pointer(Nonce),
}

/// The result of restoring the model that a plan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stored {
    /// The plan found no model to restore.
    Missing,
    /// The restore succeeded, so there is nothing to save.
    Restored,
    /// The restore failed, so the save must replace the model.
    Unusable,
}
