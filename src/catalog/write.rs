//! Writes a model's documents.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};

use super::Catalog;
use crate::decide::head::{Move, movement};
use crate::error::{Error, Result};
use crate::format::manifest::{self, Packed};
use crate::format::pointer::Reference;
use crate::format::{
    BlobId, Fingerprint, FormatError, Head, HeadName, InputsDocument, InputsId, Manifest,
    ManifestId, Nonce, Pointer, Refused, Scope, head, inputs,
};
use crate::retry::{Failure, Policy};
use crate::store::{self, Condition, Home, Key, Payload, StoreErrorKind, Version, layout};
use crate::transfer::addressed::{self, Content, Guess};

/// For a writer that lost a race: the winner finishes within moments, so short pauses suffice.
pub const RACE: Policy = Policy { attempts: 50, pause: Duration::from_millis(100), ..Policy::ONCE };

/// The result of a write under a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The object is written.
    Done,
    /// The condition did not hold.
    Refused,
    /// The store could not decide between concurrent writers, and wrote nothing.
    Undecided,
}

/// The run that moves a head.
#[derive(Clone, Debug)]
pub struct Mover {
    /// The scope and the name of the head.
    pub head: (Scope, HeadName),
    /// The short name of the run's ref.
    pub git_ref: String,
    /// The run's number; 0 outside of GitHub Actions.
    pub run_id: u64,
    /// The run's commit; empty outside of GitHub Actions.
    pub sha: String,
}

/// A document as an earlier request found it. So soon after it, a conditional
/// write needs no second look.
#[derive(Clone, Debug)]
pub struct Earlier<T> {
    at: Instant,
    found: Option<(T, Version)>,
}

impl<T> Earlier<T> {
    /// Keeps what a request has found just now; `None` if there was no document.
    pub fn now(found: Option<(T, Version)>) -> Self {
        Self { at: Instant::now(), found }
    }

    /// Returns the document as it was then.
    pub fn get(&self) -> Option<&T> {
        self.found.as_ref().map(|(document, _)| document)
    }

    /// Returns what the request found, if that was less than a minute ago.
    pub fn fresh(self) -> Option<Option<(T, Version)>> {
        (self.at.elapsed() < FRESH).then_some(self.found)
    }
}

/// The nonce of the document that a store refused to replace. A store that refuses its own entity
/// tag leads to the same nonce again, although no other run wrote.
#[derive(Debug, Default)]
pub struct Unheeded(Mutex<Option<Nonce>>);

impl Unheeded {
    /// Notes the document that another run seems to have replaced.
    pub fn note(&self, nonce: Option<Nonce>) {
        if let Ok(mut refused) = self.0.lock() {
            *refused = nonce;
        }
    }

    /// Compares the document of the next attempt, which `document` names.
    ///
    /// # Errors
    /// It is the document of before, so the store does not accept its own entity tag.
    pub fn check(&self, nonce: Option<&Nonce>, document: impl Fn() -> String) -> Result<()> {
        let before = self.0.lock().map_or(None, |mut refused| refused.take());
        if nonce.is_none() || before.as_ref() != nonce {
            return Ok(());
        }
        Err(Error::failed(format!(
            "cannot replace {}: the store does not accept the entity tag that it gave for that \
             object (`If-Match`), and no other run changed the object",
            document()
        ))
        .hint(
            "use a store with conditional writes, and no proxy before it that changes entity tags",
        ))
    }
}

/// A document is read again after this time. On a store that ignores conditions, an old version
/// would overwrite the document of a later run.
const FRESH: Duration = Duration::from_secs(60);

impl Catalog {
    /// Checks that this process may write in the scope. It asks about a key that nobody reads.
    ///
    /// # Errors
    /// The store refuses the write or cannot be reached.
    pub async fn check_writable(&self, scope: &Scope) -> Result<()> {
        let key = layout::probe(scope, &self.namespace, &self.model);
        Ok(self.store.check_writable(&key).await?)
    }

    /// Tries the reads of a plan in some scopes, and the write of a save in another. Returns the
    /// failures.
    ///
    /// It reads objects of an empty text, which most stores lack. So a missing object is no
    /// failure.
    pub async fn check_access(&self, reads: &[Scope], writes: Option<&Scope>) -> Vec<Error> {
        let (namespace, model) = (&self.namespace, &self.model);
        let pointer =
            |scope: &Scope| layout::pointer(scope, namespace, model, &Fingerprint::of(b""));
        let mut keys: Vec<Key> = reads.iter().map(pointer).collect();
        keys.push(layout::manifest(&ManifestId::of(b"")));
        keys.push(layout::blob(&BlobId::of(b"")));
        let mut failures = Vec::new();
        for key in &keys {
            failures.extend(self.store.get(key).await.err());
        }
        if let Some(scope) = writes {
            let key = layout::probe(scope, namespace, model);
            failures.extend(self.store.check_writable(&key).await.err());
        }
        // A refusal may concern a single key. Every other failure repeats itself with each key.
        let mut told = Vec::new();
        failures.retain(|failure| {
            let is_new = failure.kind == StoreErrorKind::Denied || !told.contains(&failure.kind);
            told.push(failure.kind);
            is_new && failure.kind != StoreErrorKind::NotFound
        });
        failures.into_iter().map(Error::from).collect()
    }

    /// Returns keys that a save in the scope writes, whatever its model.
    pub fn examples(&self, scope: &Scope) -> Vec<Key> {
        let (namespace, model) = (&self.namespace, &self.model);
        let mut keys = vec![
            layout::blob(&BlobId::of(b"")),
            layout::manifest(&ManifestId::of(b"")),
            layout::packed_manifest(&ManifestId::of(b"")),
            layout::inputs(&InputsId::of(b"")),
        ];
        let home = Home::of(scope, namespace, model);
        keys.extend(keys.clone().iter().map(|shared| home.second(shared)));
        keys.push(layout::pointer(scope, namespace, model, &Fingerprint::of(b"")));
        keys.push(layout::head(scope, namespace, model, &HeadName::Default));
        keys
    }

    /// Stores a manifest for a scope unless the store has it, and returns its digest and size.
    /// `read` is a manifest that this process has read under its shared name.
    ///
    /// # Errors
    /// - The manifest exceeds a limit of the format.
    /// - The store cannot be written.
    pub async fn keep_manifest(
        &self,
        scope: &Scope,
        manifest: &Manifest,
        guess: Guess,
        read: Option<ManifestId>,
    ) -> Result<Reference<ManifestId>> {
        let too_large =
            |error: FormatError| Error::bad_input("cannot save the model").caused_by(error);
        let Packed { id, size, bytes, is_compressed } = manifest.pack().map_err(too_large)?;
        if read == Some(id) {
            return Ok(Reference { digest: id, size });
        }
        let payload = Payload::new(bytes);
        let form = (payload.digest(), payload.size());
        // Another version of the compressor makes other bytes of the same text.
        let holds = |stored: &[u8]| manifest::holds(stored, &id, size);
        let (key, content) = match is_compressed {
            true => (
                layout::packed_manifest(&id),
                Content::Text { form, most: manifest::most_stored(size), holds: &holds },
            ),
            false => (layout::manifest(&id), Content::Bytes(form.0, form.1)),
        };
        self.shelf(scope).keep(&key, &payload, content, guess).await?;
        Ok(Reference { digest: id, size })
    }

    /// Stores an inputs document for a scope unless the store has it.
    ///
    /// Returns the digest and the size of the uncompressed text.
    ///
    /// # Errors
    /// - The compressor fails.
    /// - The store cannot be written.
    pub async fn keep_inputs(
        &self,
        scope: &Scope,
        document: &InputsDocument,
        guess: Guess,
    ) -> Result<Reference<InputsId>> {
        let text = document.to_text();
        let (digest, size) = (InputsId::of(text.as_bytes()), text.len() as u64);
        let packed = InputsDocument::compress(&text)
            .map_err(|error| Error::bad_input("cannot save the list of inputs").caused_by(error))?;
        drop(text);
        let payload = Payload::new(packed);
        let holds = |stored: &[u8]| InputsDocument::is_stored(stored, &digest, size);
        let content = Content::Text {
            form: (payload.digest(), payload.size()),
            most: inputs::most_stored(size),
            holds: &holds,
        };
        self.shelf(scope).keep(&layout::inputs(&digest), &payload, content, guess).await?;
        Ok(Reference { digest, size })
    }

    /// Writes a pointer under a condition.
    ///
    /// Unless it is [`Written::Done`], another writer may have been faster, and the caller must
    /// read the pointer again.
    ///
    /// # Errors
    /// - The pointer exceeds the size limit.
    /// - The store cannot be written.
    pub async fn write_pointer(&self, pointer: &Pointer, condition: Condition) -> Result<Written> {
        let key = self.pointer_key(&pointer.scope, &pointer.fingerprint);
        let bytes = pointer
            .to_bytes()
            .map_err(|error| Error::bad_input("cannot write the pointer").caused_by(error))?;
        let written = store::write(&*self.store, &key, &Payload::new(bytes), &condition).await;
        let error = match written {
            Ok(_) => return Ok(Written::Done),
            Err(error) if error.kind == StoreErrorKind::Conflict => return Ok(Written::Undecided),
            Err(error) if error.kind.lost_race() => return Ok(Written::Refused),
            Err(error) => error,
        };
        // The write may have succeeded although its answer was lost. The nonce tells whose pointer
        // it is.
        if error.kind == StoreErrorKind::Unreachable
            && let Ok(Some((found, _))) = self.pointer(&pointer.scope, &pointer.fingerprint).await
            && found.nonce == pointer.nonce
        {
            return Ok(Written::Done);
        }
        Err(error.into())
    }

    /// Stores the record of a refused model, unless the store has a record of the same model.
    ///
    /// # Errors
    /// - The record exceeds the size limit.
    /// - The store cannot be written.
    pub async fn keep_refused(&self, refused: &Refused) -> Result<()> {
        let digest = &refused.manifest.digest;
        let key = layout::refused(&refused.scope, &self.namespace, &self.model, digest);
        let bytes = refused
            .to_bytes()
            .map_err(|error| Error::bad_input("cannot keep the refused model").caused_by(error))?;
        addressed::put(&self.store, &key, &Payload::new(bytes), Condition::Absent).await?;
        Ok(())
    }

    /// Moves a ref's head to the model, unless a later run moved the head already. Returns the head
    /// that stays, and its key; `None` if the head leads to the model now.
    ///
    /// `read` spares the first look if it is fresh. If the head has changed since, the store
    /// refuses the write, and the next attempt reads it.
    ///
    /// # Errors
    /// - The store cannot be read or written.
    /// - Other runs wrote the head during every attempt.
    pub async fn move_head(
        &self,
        mover: &Mover,
        pointer: &Pointer,
        read: Option<Earlier<Head>>,
    ) -> Result<Option<(Head, Key)>> {
        let read = Mutex::new(read.and_then(Earlier::fresh));
        let refused = Unheeded::default();
        RACE.run(|| {
            let read = read.lock().map_or(None, |mut read| read.take());
            self.move_head_once(mover, pointer, read, &refused)
        })
        .await
    }

    async fn move_head_once(
        &self,
        mover: &Mover,
        pointer: &Pointer,
        read: Option<Option<(Head, Version)>>,
        refused: &Unheeded,
    ) -> std::result::Result<Option<(Head, Key)>, Failure<Error>> {
        let (scope, name) = &mover.head;
        let current = match read {
            Some(read) => read,
            None => self.head(scope, name).await?,
        };
        let there = current.as_ref().map(|(head, _)| head.nonce.clone());
        refused.check(there.as_ref(), || format!("`{}`", self.head_key(scope, name)))?;
        match movement(current.as_ref().map(|(head, _)| head), pointer, mover.run_id) {
            Move::Write => {}
            Move::Done => return Ok(None),
            Move::Stay => {
                return Ok(current.map(|(head, _)| (head, self.head_key(scope, name))));
            }
        }
        let head = Head {
            schema: head::SCHEMA.to_owned(),
            git_ref: mover.git_ref.clone(),
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
        let key = self.head_key(scope, name);
        match store::write(&*self.store, &key, &Payload::new(bytes), &condition).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind.lost_race() => {
                if error.kind != StoreErrorKind::Conflict {
                    refused.note(there);
                }
                Err(Failure::passing(Error::failed(
                    "other runs wrote the head during every attempt",
                )))
            }
            Err(error) => Err(Error::from(error).into()),
        }
    }
}

/// Returns the current time in whole seconds, the precision that our documents use.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now)
}

/// Returns the time since the beginning of a training in whole seconds, as our documents keep it.
pub fn seconds_since(began: Timestamp) -> u64 {
    Timestamp::now().duration_since(began).as_secs_f64().round() as u64
}

/// Returns 128 random bits as a nonce.
pub fn nonce() -> Nonce {
    Nonce::new(rand::random())
}
