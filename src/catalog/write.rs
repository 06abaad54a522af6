//! Writing what the store knows of a model.

use std::time::Duration;

use jiff::{Timestamp, Unit};

use super::Catalog;
use crate::decide::head::must_move;
use crate::error::{Error, Result};
use crate::format::pointer::Reference;
use crate::format::{
    FormatError, Head, InputsDocument, InputsId, Manifest, ManifestId, Nonce, Pointer, Scope, head,
};
use crate::retry::{Failure, Policy};
use crate::store::{Condition, Payload, StoreErrorKind, layout};
use crate::transfer::upload;

/// For writers that lose a race: whoever wins it is done a moment later.
pub const RACE: Policy = Policy {
    attempts: 50,
    pause: Duration::from_millis(100),
    growth: 1.0,
    patience: Duration::MAX,
};

/// Who moves a head.
#[derive(Clone, Debug)]
pub struct Mover {
    /// The scope and the short name of the ref whose head it is.
    pub head: (Scope, String),
    /// The run, 0 outside of GitHub Actions.
    pub run_id: u64,
    /// Its commit, empty outside of GitHub Actions.
    pub sha: String,
}

impl Catalog {
    /// Finds out whether a pointer could be written in the scope.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub async fn check_writable(&self, scope: &Scope) -> Result<()> {
        let key = layout::probe(scope, &self.namespace, &self.model);
        Ok(self.store.check_writable(&key).await?)
    }

    /// Stores a manifest.
    ///
    /// # Errors
    /// A manifest over its limits; a store that cannot be written.
    pub async fn keep_manifest(&self, manifest: &Manifest) -> Result<Reference<ManifestId>> {
        let too_large =
            |error: FormatError| Error::bad_input("cannot save the model").caused_by(error);
        let payload = Payload::new(manifest.to_bytes().map_err(too_large)?);
        let reference =
            Reference { digest: ManifestId::new(payload.digest), size: payload.bytes.len() as u64 };
        upload::put_addressed(&self.store, &layout::manifest(&reference.digest), payload).await?;
        Ok(reference)
    }

    /// Stores an inputs document.
    ///
    /// # Errors
    /// A document over its limits; a store that cannot be written.
    pub async fn keep_inputs(&self, document: &InputsDocument) -> Result<Reference<InputsId>> {
        let text = document.to_text();
        let reference =
            Reference { digest: InputsId::of(text.as_bytes()), size: text.len() as u64 };
        let packed = InputsDocument::compress(&text)
            .map_err(|error| Error::bad_input("cannot save the list of inputs").caused_by(error))?;
        let key = layout::inputs(&reference.digest);
        if self.store.head(&key).await?.is_none() {
            upload::put(&self.store, &key, Payload::new(packed), Condition::Absent).await?;
        }
        Ok(reference)
    }

    /// Writes the pointer; returns false where another writer was faster, so that the caller has to
    /// look again.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub async fn write_pointer(&self, pointer: &Pointer, condition: Condition) -> Result<bool> {
        let key = self.pointer_key(&pointer.scope, &pointer.fingerprint);
        let bytes = pointer
            .to_bytes()
            .map_err(|error| Error::bad_input("cannot write the pointer").caused_by(error))?;
        let error = match self.store.put(&key, Payload::new(bytes), condition).await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind.lost_race() => return Ok(false),
            Err(error) => error,
        };
        // A write may have arrived although its answer was lost.
        if error.kind == StoreErrorKind::Unreachable
            && let Ok(Some((found, _))) = self.pointer(&pointer.scope, &pointer.fingerprint).await
            && found.nonce == pointer.nonce
        {
            return Ok(true);
        }
        Err(error.into())
    }

    /// Moves a ref's head to the model, unless a younger run has moved it.
    ///
    /// # Errors
    /// A store that cannot be read or written; others that keep moving it.
    pub async fn move_head(&self, mover: &Mover, pointer: &Pointer) -> Result<()> {
        RACE.run(|| self.move_head_once(mover, pointer)).await
    }

    async fn move_head_once(
        &self,
        mover: &Mover,
        pointer: &Pointer,
    ) -> std::result::Result<(), Failure<Error>> {
        let (scope, git_ref) = &mover.head;
        let current = self.head(scope, git_ref).await?;
        if !must_move(current.as_ref().map(|(head, _)| head), pointer, mover.run_id) {
            return Ok(());
        }
        let head = Head {
            schema: head::SCHEMA.to_owned(),
            git_ref: git_ref.clone(),
            fingerprint: pointer.fingerprint,
            generation: pointer.generation,
            manifest: pointer.manifest.digest,
            run_id: mover.run_id,
            sha: mover.sha.clone(),
            updated_at: now(),
            nonce: nonce(),
        };
        let bytes = head
            .to_bytes()
            .map_err(|error| Error::failed("cannot write the head").caused_by(error))?;
        let condition =
            current.map_or(Condition::Absent, |(_, version)| Condition::Unchanged(version));
        match self.store.put(&self.head_key(scope, git_ref), Payload::new(bytes), condition).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind.lost_race() => Err(Failure::passing(Error::failed(
                "other runs wrote the head during every attempt",
            ))),
            Err(error) => Err(Error::from(error).into()),
        }
    }
}

/// Returns the time in whole seconds, as documents have it.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now)
}

/// Returns a new nonce.
pub fn nonce() -> Nonce {
    Nonce::new(rand::random())
}
