//! Inputs: from raw strings to typed settings, once, with every fault in one message.
//!
//! The same table feeds the command line flags, the action's inputs and the documentation test.

pub mod host_paths;
mod mounts;
pub mod settings;
pub mod table;

use std::collections::BTreeMap;

use crate::fingerprint::patterns::trim;

pub use settings::{OnError, Settings, resolve};
pub use table::{INPUTS, Input, Verb};

/// Raw input values by name; an empty value is the same as none.
#[derive(Clone, Debug, Default)]
pub struct RawInputs(BTreeMap<String, String>);

impl RawInputs {
    /// Returns the trimmed value, `None` where it is unset or blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| trim(value)).filter(|value| !value.is_empty())
    }

    /// Sets a value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }
}
