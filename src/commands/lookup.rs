//! Looks for models in the scopes that this run may read.
//!
//! With `read-scopes: trusted`, a run reads its own scope only through its own artifacts. Everybody
//! who can push to the branch can write that scope, but only this run's jobs own its artifacts.

use super::Context;
use super::claim;
use crate::decide::verdict::Lookup;
use crate::error::Result;
use crate::format::{Fingerprint, Pointer};

impl Context {
    /// Returns the first pointer of this fingerprint in the scopes that this run reads.
    ///
    /// # Errors
    /// - This run may not read any scope.
    /// - The store or the artifacts of this run cannot be read.
    /// - The stored bytes are not the expected pointer.
    pub async fn find_pointer(&self, fingerprint: &Fingerprint) -> Result<Option<Pointer>> {
        match self.saved_of(Some(fingerprint)).await? {
            Some(pointer) => Ok(Some(pointer)),
            None => self.catalog.first_pointer(&self.access.reads, fingerprint).await,
        }
    }

    /// Looks in the scopes that this run reads, in order, for a model whose objects are all in the
    /// store.
    ///
    /// # Errors
    /// - This run may not read any scope.
    /// - The store or the artifacts of this run cannot be read.
    /// - A pointer or a manifest is damaged.
    pub async fn find_model(&self, fingerprint: &Fingerprint) -> Result<Lookup> {
        let mut best = Lookup::Absent;
        if let Some(pointer) = self.saved_of(Some(fingerprint)).await? {
            let found = Box::new(self.catalog.found(pointer).await?);
            if found.is_complete() {
                return Ok(Lookup::Found(found));
            }
            best = Lookup::Found(found);
        }
        match self.catalog.model(&self.access.reads, fingerprint).await? {
            Lookup::Absent => Ok(best),
            found => Ok(found),
        }
    }

    /// Returns whether this run may use the pointer, which the store has confirmed.
    ///
    /// # Errors
    /// The artifacts of this run cannot be read.
    pub async fn may_read(&self, pointer: &Pointer) -> Result<bool> {
        if self.access.reads.contains(&pointer.scope) {
            return Ok(true);
        }
        let is_same = |saved: &Pointer| {
            saved.scope == pointer.scope
                && saved.fingerprint == pointer.fingerprint
                && saved.manifest == pointer.manifest
        };
        Ok(self.saved_here().await?.iter().any(is_same))
    }

    /// Returns the pointers of the model that this run saved in its own scope, newest first. Empty
    /// unless `read-scopes: trusted` narrows the run's own scope to them.
    ///
    /// # Errors
    /// The artifacts of this run cannot be read.
    pub async fn saved_here(&self) -> Result<&[Pointer]> {
        if !self.access.reads_this_run {
            return Ok(&[]);
        }
        self.saved_here.get_or_try_init(|| self.read_saved()).await.map(Vec::as_slice)
    }

    async fn read_saved(&self) -> Result<Vec<Pointer>> {
        let service = match &self.results {
            Ok(service) => service,
            Err(why) => {
                self.report.warn(&format!(
                    "this run reads only trusted models, because its own artifacts cannot be \
                     read: {why}"
                ));
                return Ok(Vec::new());
            }
        };
        let saved = service.saved(&self.settings.artifact_prefix()).await?;
        let pointers = saved.iter().filter_map(|bytes| Pointer::parse(bytes).ok());
        let run = self.run.as_ref().map(|run| run.run_id);
        let is_wanted = |pointer: &Pointer| {
            let Pointer { scope, fingerprint, .. } = pointer;
            let (namespace, model) = (&self.settings.namespace, &self.settings.model);
            *scope == self.access.own
                && pointer.producer.as_ref().map(|producer| producer.run_id) == run
                && pointer.expect(namespace, model, scope, fingerprint).is_ok()
        };
        Ok(pointers.filter(is_wanted).collect())
    }

    /// Returns the newest pointer that this run saved and the store confirms; with a fingerprint,
    /// the newest of that fingerprint.
    pub(super) async fn saved_of(
        &self,
        fingerprint: Option<&Fingerprint>,
    ) -> Result<Option<Pointer>> {
        let is_wanted =
            |saved: &&Pointer| fingerprint.is_none_or(|wanted| saved.fingerprint == *wanted);
        for saved in self.saved_here().await?.iter().filter(is_wanted) {
            let Some((stored, _)) = self.catalog.pointer(&saved.scope, &saved.fingerprint).await?
            else {
                continue;
            };
            if let Some(pointer) = claim::generation_of(self, stored, saved).await? {
                return Ok(Some(pointer));
            }
        }
        Ok(None)
    }
}
