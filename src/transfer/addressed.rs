//! Objects that are named by their content: who writes one, and where a reader finds it.
//!
//! All scopes share these names, and every scope may create objects there. So somebody may have put
//! other bytes under a name before the honest save. A writer therefore looks at what it adopts. If
//! it may not replace a wrong object, it writes the second name, which only its own scope writes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;

use crate::error::{Error, Result};
use crate::format::{Digest, Hasher};
use crate::retry::Failure;
use crate::store::{
    self, Condition, DynStore, Home, Key, Meta, Payload, StoreError, StoreErrorKind, Version,
};

/// The content-addressed objects of a scope: the names that all scopes share, and the second names.
#[derive(Clone, Debug)]
pub struct Shelf {
    store: DynStore,
    home: Home,
    distrusts_own: bool,
    occupied: Occupied,
}

/// The shared names that a save found occupied, each with the command that removes the object.
#[derive(Clone, Debug, Default)]
pub struct Occupied(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Occupied {
    /// Returns the names and the commands since the last call.
    pub fn take(&self) -> BTreeSet<(String, String)> {
        self.0.lock().map(|mut found| std::mem::take(&mut *found)).unwrap_or_default()
    }
}

/// The bytes that an object must hold.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Exactly the bytes of this digest and length.
    Bytes(Digest, u64),
    /// Any compressed form of a text.
    Text {
        /// The digest of a form that certainly holds the text, and its length.
        form: (Digest, u64),
        /// The most bytes that any form takes.
        most: usize,
        /// Unpacks a form, no further than the text's size, and compares it with the text's digest.
        holds: &'a (dyn Fn(&[u8]) -> bool + Send + Sync),
    },
}

/// What a save expects under a name. It only decides which request comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// Nothing: the save writes at once, and looks only if something is there.
    New,
    /// The content: the save looks first.
    There,
}

/// The object under a name, compared with the content that it must hold.
enum Found {
    Right,
    Missing,
    Wrong(Version),
    /// The store tells nothing about this object.
    Unknown(StoreError),
}

impl Shelf {
    /// Returns the objects of a scope. With `distrusts_own`, a save also reads objects that only
    /// this user can have written, because a restore may have found them damaged.
    pub fn new(store: DynStore, home: Home, distrusts_own: bool, occupied: Occupied) -> Self {
        Self { store, home, distrusts_own, occupied }
    }

    /// Returns the store.
    pub fn store(&self) -> &DynStore {
        &self.store
    }

    /// Returns both names of an object, in the order in which a reader tries them.
    pub fn names(&self, shared: &Key) -> [Key; 2] {
        [shared.clone(), self.home.second(shared)]
    }

    /// Stores bytes, unless the content is there. Returns whether this wrote them.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn keep(
        &self,
        shared: &Key,
        payload: &Payload,
        content: Content<'_>,
        guess: Guess,
    ) -> Result<bool> {
        let refused = match guess {
            Guess::There => None,
            Guess::New => match put(&self.store, shared, payload, Condition::Absent).await {
                Ok(true) => return Ok(true),
                Ok(false) => None,
                // The content may be there all the same.
                Err(error) if is_refusal(error.kind) => Some(error),
                Err(error) => return Err(error.into()),
            },
        };
        let found = match (self.judge(shared, content).await?, refused) {
            (Found::Right, _) => return Ok(false),
            (found @ Found::Wrong(_), _) => found,
            (Found::Missing, Some(refused)) => return Err(refused.into()),
            (Found::Missing, None) => {
                match put(&self.store, shared, payload, Condition::Absent).await? {
                    true => return Ok(true),
                    // Another writer was faster.
                    false => self.judge(shared, content).await?,
                }
            }
            // Without a right to list the bucket, a missing object looks like a forbidden one.
            (Found::Unknown(why), refused) => {
                let written = match refused {
                    Some(refused) => Err(refused),
                    None => put(&self.store, shared, payload, Condition::Absent).await,
                };
                match written {
                    Ok(true) => return Ok(true),
                    Ok(false) => Found::Unknown(why),
                    Err(_) if why.kind == StoreErrorKind::Denied => return Err(why.into()),
                    Err(error) if error.kind == StoreErrorKind::Denied => Found::Unknown(why),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if matches!(found, Found::Right) {
            return Ok(false);
        }
        self.replace(shared, payload, content).await
    }

    /// Replaces an object that does not hold the content, or writes the second name.
    async fn replace(&self, shared: &Key, payload: &Payload, content: Content<'_>) -> Result<bool> {
        // A role that may only create content cannot repair the object.
        match put(&self.store, shared, payload, Condition::None).await {
            Ok(_) => return Ok(true),
            Err(error) if is_refusal(error.kind) => {}
            Err(error) => return Err(error.into()),
        }
        if let Ok(mut occupied) = self.occupied.0.lock() {
            occupied.insert((shared.to_string(), self.store.removal(shared)));
        }
        self.keep_second(shared, payload, content).await
    }

    async fn keep_second(
        &self,
        shared: &Key,
        payload: &Payload,
        content: Content<'_>,
    ) -> Result<bool> {
        let second = self.home.second(shared);
        let condition = match self.judge(&second, content).await? {
            Found::Right => return Ok(false),
            Found::Missing => Condition::Absent,
            Found::Wrong(version) => Condition::Unchanged(version),
            Found::Unknown(error) if error.kind == StoreErrorKind::Denied => Condition::Absent,
            Found::Unknown(_) => Condition::None,
        };
        let written = put(&self.store, &second, payload, condition).await;
        let removal = self.store.removal(shared);
        written.map_err(|error| {
            Error::from(error).hint(format!(
                "remove `{shared}`, which holds other bytes than its name says or cannot be read: \
                 `{removal}`"
            ))
        })
    }

    /// Returns whether an object of either name holds the content. It reads an object of which the
    /// store keeps no SHA-256.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn has(&self, shared: &Key, content: Content<'_>) -> Result<bool> {
        for name in self.names(shared) {
            if let Found::Right = self.judge(&name, content).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn judge(&self, name: &Key, content: Content<'_>) -> Result<Found> {
        let meta = match self.store.head(name).await {
            Ok(Some(meta)) => meta,
            Ok(None) => return Ok(Found::Missing),
            Err(error) if error.kind.may_spare_others() => return Ok(Found::Unknown(error)),
            Err(error) => return Err(error.into()),
        };
        let meta = Meta { ours: meta.ours && !self.distrusts_own, ..meta };
        let is_right = match content {
            Content::Bytes(digest, size) => {
                meta.proves(&digest, size)
                    || meta.is(&digest, size)
                        && (self.has_bytes(name, digest, size).await?
                            // The bytes may have been damaged on their way.
                            || self.has_bytes(name, digest, size).await?)
            }
            Content::Text { form: (digest, size), most, holds } => {
                let is_form = meta.digest.is_some() && meta.proves(&digest, size);
                let may_be = !meta.archived && meta.size.is_none_or(|size| size <= most as u64);
                // The form itself need not be unpacked.
                let holds = |stored: &[u8]| {
                    stored.len() as u64 == size && Digest::of(stored) == digest || holds(stored)
                };
                is_form || may_be && self.has_text(name, most, &holds).await?
            }
        };
        Ok(if is_right { Found::Right } else { Found::Wrong(meta.version) })
    }

    /// Reads an object, no further than the size, and compares its digest.
    async fn has_bytes(&self, name: &Key, digest: Digest, size: u64) -> Result<bool> {
        let attempt = || async {
            let mut object = match self.store.get(name).await {
                Ok(object) => object,
                Err(error) if error.kind.may_spare_others() => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let announced = object.meta.size;
            if announced.is_some_and(|found| found != size) {
                return Ok(false);
            }
            let (mut hasher, mut left) = (Hasher::default(), size);
            while let Some(piece) = object.body.next().await {
                let piece = piece.map_err(|error| self.broken(error))?;
                if piece.len() as u64 > left {
                    return Ok(false);
                }
                hasher.update(&piece);
                left -= piece.len() as u64;
            }
            if left > 0 && announced.is_some() {
                let why = format!("the transfer broke off {left} bytes before the end");
                let error = StoreError::new(StoreErrorKind::Unreachable, "read", name, why);
                return Err(self.broken(error));
            }
            Ok(hasher.finish() == digest)
        };
        Ok(self.store.retry().run(attempt).await?)
    }

    fn broken(&self, error: StoreError) -> Failure<StoreError> {
        self.store.note(&error);
        Failure::passing(error)
    }

    async fn has_text(
        &self,
        name: &Key,
        most: usize,
        holds: &(dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> Result<bool> {
        match store::read(&*self.store, name, most).await {
            Ok(found) => Ok(found.is_some_and(|(bytes, _)| holds(&bytes))),
            Err(error) if error.kind.may_spare_others() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns whether a store that works may have refused to write an object.
fn is_refusal(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Denied | StoreErrorKind::Unusable | StoreErrorKind::Other)
}

/// Writes an object. Returns `false` if [`Condition::Absent`] did not hold.
///
/// # Errors
/// The store cannot be written.
pub async fn put(
    store: &DynStore,
    key: &Key,
    payload: &Payload,
    condition: Condition,
) -> std::result::Result<bool, StoreError> {
    let attempt = || async {
        match store::write(&**store, key, payload, &condition).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind {
                StoreErrorKind::Exists => Ok(false),
                StoreErrorKind::Conflict => {
                    store.note(&error);
                    Err(Failure::passing(error))
                }
                _ => Err(error.into()),
            },
        }
    };
    store.retry().run(attempt).await
}
