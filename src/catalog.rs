//! The documents that the store keeps of one model: pointers, heads, manifests and inputs.
//!
//! This is the only place that reads and writes them. A document of another kind gets a method to
//! read it, a method to write it, and no command has to know where it lies.

mod read;
mod write;

pub use write::{Mover, RACE, nonce, now};

use crate::format::{ModelName, Namespace};
use crate::store::DynStore;

/// The documents of one model.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: DynStore,
    namespace: Namespace,
    model: ModelName,
}

impl Catalog {
    /// Returns the documents of a model; nothing is read yet.
    pub fn new(store: DynStore, namespace: Namespace, model: ModelName) -> Self {
        Self { store, namespace, model }
    }
}
