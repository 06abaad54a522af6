//! The store's documents of one model: pointers, heads, manifests and inputs documents.
//!
//! No other module reads or writes these documents. A new kind of document gets a method to read it
//! and a method to write it here, so no command knows its key.

mod read;
mod write;

pub use write::{Earlier, Mover, RACE, Unheeded, Written, nonce, now, seconds_since};

use crate::decide::origin::Reader;
use crate::format::{ModelName, Namespace, Scope};
use crate::store::{DynStore, Home};
use crate::transfer::addressed::{Occupied, Shelf};

/// The documents of one model in one store.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: DynStore,
    namespace: Namespace,
    model: ModelName,
    reader: Option<Reader>,
    distrusts_own: bool,
    occupied: Occupied,
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
        let occupied = Occupied::default();
        Self { store, namespace, model, reader, distrusts_own: false, occupied }
    }

    /// Returns the same documents in another store.
    pub fn on(&self, store: DynStore) -> Self {
        Self { store, ..self.clone() }
    }

    /// Returns the same documents for a save that reads even the objects that only this user can
    /// have written.
    #[must_use]
    pub fn distrusting(self) -> Self {
        Self { distrusts_own: true, ..self }
    }

    /// Returns the blobs, manifests and inputs documents of a scope's pointers.
    pub fn shelf(&self, scope: &Scope) -> Shelf {
        let home = Home::of(scope, &self.namespace, &self.model);
        Shelf::new(self.store.clone(), home, self.distrusts_own, self.occupied.clone())
    }

    /// Returns the shared names that saves found occupied since the last call, each with the
    /// command that removes the object.
    pub fn occupied(&self) -> impl Iterator<Item = (String, String)> {
        self.occupied.take().into_iter()
    }
}
