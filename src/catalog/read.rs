//! Reads a model's documents, and checks everything that the store returns.

use bytes::Bytes;

use super::Catalog;
use crate::decide::origin;
use crate::decide::verdict::{Found, Lookup};
use crate::error::{Error, Result};
use crate::format::pointer::Reference;
use crate::format::{
    Fingerprint, FormatError, Head, HeadName, InputsDocument, Manifest, ManifestId, Pointer,
    Refused, Scope, head, inputs, manifest, pointer, refused,
};
use crate::store::{self, Key, Version, layout};
use crate::transfer::presence::{self, Gaps};

impl Catalog {
    /// Reads the pointer of a fingerprint. It refuses a pointer of another model, scope or
    /// fingerprint, and a pointer that no run of its scope can have written.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The stored bytes are not the expected pointer.
    pub async fn pointer(
        &self,
        scope: &Scope,
        fingerprint: &Fingerprint,
    ) -> Result<Option<(Pointer, Version)>> {
        let key = self.pointer_key(scope, fingerprint);
        let Some((bytes, version)) = self.read(&key, pointer::MAX_BYTES).await? else {
            return Ok(None);
        };
        let broken = |error| unusable(&key, error);
        let found = Pointer::parse(&bytes).map_err(broken)?;
        found.expect(&self.namespace, &self.model, scope, fingerprint).map_err(broken)?;
        origin::possible(&found, self.reader.as_ref())
            .map_err(|why| broken(FormatError::new("pointer", why)))?;
        Ok(Some((found, version)))
    }

    /// Reads the bytes of a pointer without checking them, for a caller that compares bytes or
    /// digests.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn pointer_bytes(
        &self,
        scope: &Scope,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Bytes>> {
        let found = self.read(&self.pointer_key(scope, fingerprint), pointer::MAX_BYTES).await?;
        Ok(found.map(|(bytes, _)| bytes))
    }

    /// Returns the first pointer of the fingerprint in these scopes.
    ///
    /// # Errors
    /// - The list of scopes is empty.
    /// - The store cannot be read.
    /// - The stored bytes are not the expected pointer.
    pub async fn first_pointer(
        &self,
        scopes: &[Scope],
        fingerprint: &Fingerprint,
    ) -> Result<Option<Pointer>> {
        check_readable(scopes)?;
        for scope in scopes {
            if let Some((pointer, _)) = self.pointer(scope, fingerprint).await? {
                return Ok(Some(pointer));
            }
        }
        Ok(None)
    }

    /// Reads the manifest that a pointer names. Returns `None` if the store does not have it.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The stored bytes have another digest or length than the pointer says.
    /// - The stored bytes break a rule of the format.
    pub async fn find_manifest(&self, pointer: &Pointer) -> Result<Option<Manifest>> {
        self.read_manifest(&pointer.manifest).await
    }

    async fn read_manifest(&self, wanted: &Reference<ManifestId>) -> Result<Option<Manifest>> {
        // A small manifest is never compressed. The pointer's size tells which name to read first.
        if wanted.size > manifest::PACKED_ABOVE {
            let key = layout::packed_manifest(&wanted.digest);
            let most = manifest::most_stored(wanted.size);
            if let Some((bytes, _)) = self.read(&key, most).await? {
                return Manifest::unpack(&bytes, &wanted.digest, wanted.size)
                    .map(Some)
                    .map_err(|error| unusable(&key, error));
            }
        }
        // Earlier versions compressed no manifest.
        let key = layout::manifest(&wanted.digest);
        let Some((bytes, _)) = self.read(&key, manifest::MAX_PLAIN_BYTES).await? else {
            return Ok(None);
        };
        let found = ManifestId::of(&bytes);
        if found != wanted.digest || bytes.len() as u64 != wanted.size {
            let damage = format!("`{key}` is damaged: its content has the digest {found}");
            return Err(Error::integrity(damage).hint(
                "remove that object from the store, and the next run trains and saves the model \
                 anew",
            ));
        }
        let manifest = Manifest::parse(&bytes).map_err(|error| unusable(&key, error))?;
        Ok(Some(manifest))
    }

    /// Reads the manifest that a pointer names.
    ///
    /// # Errors
    /// - Any error of [`Catalog::find_manifest`].
    /// - The store does not have the manifest.
    pub async fn manifest(&self, pointer: &Pointer) -> Result<Manifest> {
        self.find_manifest(pointer).await?.ok_or_else(|| gone(&pointer.manifest.digest))
    }

    /// Reads the record of a refused model, and the model's manifest. Returns `None` if the scope
    /// has no such record.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The stored bytes are not the expected record or manifest.
    /// - The store does not have the manifest.
    pub async fn refused(
        &self,
        scope: &Scope,
        digest: &ManifestId,
    ) -> Result<Option<(Refused, Manifest)>> {
        let key = layout::refused(scope, &self.namespace, &self.model, digest);
        let Some((bytes, _)) = self.read(&key, refused::MAX_BYTES).await? else {
            return Ok(None);
        };
        let broken = |error| unusable(&key, error);
        let record = Refused::parse(&bytes).map_err(broken)?;
        record.expect(&self.namespace, &self.model, scope, digest).map_err(broken)?;
        let manifest = self.read_manifest(&record.manifest).await?.ok_or_else(|| gone(digest))?;
        Ok(Some((record, manifest)))
    }

    /// Returns digest and size of a stored manifest. It reads only a compressed manifest.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The store does not have the manifest.
    /// - A compressed manifest is damaged.
    pub async fn manifest_reference(&self, digest: &ManifestId) -> Result<Reference<ManifestId>> {
        let key = layout::manifest(digest);
        if let Some(meta) = self.store.head(&key).await? {
            let size = match meta.size {
                Some(size) => size,
                None => {
                    let read = self.read(&key, manifest::MAX_PLAIN_BYTES).await?;
                    read.ok_or_else(|| gone(digest))?.0.len() as u64
                }
            };
            return Ok(Reference { digest: *digest, size });
        }
        let key = layout::packed_manifest(digest);
        let most = manifest::most_stored(manifest::MAX_BYTES as u64);
        let (bytes, _) = self.read(&key, most).await?.ok_or_else(|| gone(digest))?;
        let size =
            manifest::unpacked_size(&bytes, digest).map_err(|error| unusable(&key, error))?;
        Ok(Reference { digest: *digest, size })
    }

    /// Looks in these scopes, in order, for a model whose objects are all in the store.
    ///
    /// If every model has a gap, returns the model of the last scope that has a pointer.
    ///
    /// # Errors
    /// - The list of scopes is empty.
    /// - The store cannot be read.
    /// - A pointer or a manifest is damaged.
    pub async fn model(&self, scopes: &[Scope], fingerprint: &Fingerprint) -> Result<Lookup> {
        check_readable(scopes)?;
        let mut best = Lookup::Absent;
        for scope in scopes {
            let Some((pointer, _)) = self.pointer(scope, fingerprint).await? else { continue };
            let found = self.found(pointer).await?;
            if found.is_complete() {
                return Ok(Lookup::Found(Box::new(found)));
            }
            best = Lookup::Found(Box::new(found));
        }
        Ok(best)
    }

    /// Returns a stored pointer and the state of its objects, without reading the blobs.
    ///
    /// # Errors
    /// Any error of [`Catalog::measured`].
    pub async fn found(&self, pointer: Pointer) -> Result<Found> {
        let (pointer, Gaps { absent, wrong }) = self.measured(pointer).await?;
        Ok(Found { scope: pointer.scope.clone(), pointer, absent, wrong })
    }

    /// Counts the missing and the damaged objects of a model, without reading its blobs. Returns
    /// the pointer with the numbers of the manifest: its own are only a claim of its writer.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The manifest is damaged.
    pub async fn measured(&self, pointer: Pointer) -> Result<(Pointer, Gaps)> {
        match self.find_manifest(&pointer).await? {
            None => Ok((pointer, Gaps { absent: 1, wrong: 0 })),
            Some(manifest) => {
                let gaps = match manifest.reserved() {
                    // A restore refuses such a model, so a training must replace it.
                    Some(_) => Gaps { absent: 0, wrong: 1 },
                    None => presence::gaps(&self.store, &manifest.blobs()).await?,
                };
                Ok((pointer.with_numbers_of(&manifest), gaps))
            }
        }
    }

    /// Reads a head.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The stored bytes are not a head.
    pub async fn head(&self, scope: &Scope, name: &HeadName) -> Result<Option<(Head, Version)>> {
        let key = self.head_key(scope, name);
        let Some((bytes, version)) = self.read(&key, head::MAX_BYTES).await? else {
            return Ok(None);
        };
        let head = Head::parse(&bytes).map_err(|error| unusable(&key, error))?;
        Ok(Some((head, version)))
    }

    /// Goes through the heads in order, and returns the first pointer that a head leads to. With
    /// `git_ref`, it passes over the heads of other refs.
    ///
    /// A head names only a fingerprint, so its pointer may be in any of the scopes.
    ///
    /// # Errors
    /// - The list of scopes is empty.
    /// - The store cannot be read.
    /// - A head or a pointer is damaged.
    pub async fn latest(
        &self,
        heads: &[(Scope, HeadName)],
        git_ref: Option<&str>,
        scopes: &[Scope],
    ) -> Result<Option<Pointer>> {
        check_readable(scopes)?;
        for (scope, name) in heads {
            let Some((head, _)) = self.head(scope, name).await? else { continue };
            if git_ref.is_some_and(|wanted| head.git_ref != wanted) {
                continue;
            }
            if let Some(pointer) = self.first_pointer(scopes, &head.fingerprint).await? {
                return Ok(Some(pointer));
            }
        }
        Ok(None)
    }

    /// Reads the inputs document of a model. Returns `None` if the store does not have it.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The document is damaged.
    pub async fn inputs_of(&self, pointer: &Pointer) -> Result<Option<InputsDocument>> {
        let key = layout::inputs(&pointer.inputs.digest);
        let Some((bytes, _)) = self.read(&key, inputs::MAX_DOCUMENT_BYTES).await? else {
            return Ok(None);
        };
        let Reference { digest, size } = &pointer.inputs;
        let document =
            InputsDocument::parse(&bytes, digest, *size).map_err(|error| unusable(&key, error))?;
        Ok(Some(document))
    }

    pub(super) fn pointer_key(&self, scope: &Scope, fingerprint: &Fingerprint) -> Key {
        layout::pointer(scope, &self.namespace, &self.model, fingerprint)
    }

    pub(super) fn head_key(&self, scope: &Scope, name: &HeadName) -> Key {
        layout::head(scope, &self.namespace, &self.model, name)
    }

    async fn read(&self, key: &Key, most: usize) -> Result<Option<(Bytes, Version)>> {
        Ok(store::read(&*self.store, key, most).await?)
    }
}

fn check_readable(scopes: &[Scope]) -> Result<()> {
    if scopes.is_empty() {
        let why = "GitHub gives this run no right to read caches (ACTIONS_CACHE_MODE)";
        return Err(Error::failed(why));
    }
    Ok(())
}

fn gone(manifest: &ManifestId) -> Error {
    Error::integrity(format!("the manifest {manifest} is gone from the store"))
}

fn unusable(key: &Key, error: FormatError) -> Error {
    Error::integrity(format!("`{key}` cannot be used"))
        .caused_by(error)
        .hint("remove that object from the store, and the next run writes it anew")
}
