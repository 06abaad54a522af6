//! The store's documents of one model: pointers, heads, manifests and inputs documents.
//!
//! No other module reads or writes these documents. A new kind of document gets a method to read it
//! and a method to write it here, so no command knows its key.

mod read;
mod write;

pub use write::{Mover, RACE, Written, nonce, now, seconds_since};

use crate::decide::origin::Reader;
use crate::format::{ModelName, Namespace};
use crate::store::DynStore;

/// The documents of one model in one store.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: DynStore,
    namespace: Namespace,
    model: ModelName,
    reader: Option<Reader>,
}

impl Catalog {
    /// Returns the documents of a model, without reading any of them. `reader` is the repository of
    /// this run; `None` outside of GitHub Actions.
    pub fn new(
        store: DynStore,
        namespace: Namespace,
        model: ModelName,
        reader: Option<Reader>,
    ) -> Self {
        Self { store, namespace, model, reader }
    }

    /// Returns the same documents in another store.
    pub fn on(&self, store: DynStore) -> Self {
        Self { store, ..self.clone() }
    }
}
