//! What a plan hands to the save that completes it, in the same process or through the runner.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::format::pointer::Forced;
use crate::format::{Fingerprint, InputsDocument, Nonce};

/// What a save must know of the plan that it completes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The fingerprint that was planned.
    pub fingerprint: Fingerprint,
    /// The inputs that were planned, to name what changed since; they are kept apart.
    #[serde(skip)]
    pub document: Option<InputsDocument>,
    /// The pointer that a training of this plan may replace.
    pub seen: Seen,
    /// What became of the stored model.
    pub stored: Stored,
    /// Who forced the training: asked again, GitHub may have another answer, or none.
    pub forced: Option<Forced>,
    /// When the training began at the earliest; `None` where that is not known.
    pub began: Option<Timestamp>,
}

/// The run's own pointer of these inputs, when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The store could not be looked at.
    Unknown,
    /// There was none.
    Nothing,
    /// This one, by its nonce.
    Pointer(Nonce),
}

/// What became of the stored model that a plan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stored {
    /// There was none to use.
    Missing,
    /// It was put in place, so there is nothing to save.
    Restored,
    /// It could not be put in place, and so must be replaced.
    Unusable,
}
