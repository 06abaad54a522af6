//! Reading what the store knows of a model, trusting nothing of it.

use bytes::Bytes;

use super::Catalog;
use crate::decide::verdict::{Found, Lookup};
use crate::error::{Error, Result};
use crate::format::pointer::Reference;
use crate::format::{
    Fingerprint, FormatError, Head, InputsDocument, Manifest, ManifestId, Pointer, Scope, head,
    inputs, manifest, pointer,
};
use crate::store::{self, Key, Version, layout};
use crate::transfer::presence::{self, Gaps};

impl Catalog {
    /// Reads a pointer and checks that it is the one asked for.
    ///
    /// # Errors
    /// A store that could not be read; stored bytes that are no such pointer.
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
        Ok(Some((found, version)))
    }

    /// Reads the bytes of a pointer, for whom its digest counts; nothing of them is checked.
    ///
    /// # Errors
    /// A store that could not be read.
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
    /// No scopes; a store that could not be read, or content that cannot be trusted.
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

    /// Reads the manifest that a pointer names, `None` where it is gone.
    ///
    /// # Errors
    /// A store that could not be read; bytes that are not the ones the pointer names.
    pub async fn find_manifest(&self, pointer: &Pointer) -> Result<Option<Manifest>> {
        let key = layout::manifest(&pointer.manifest.digest);
        let Some((bytes, _)) = self.read(&key, manifest::MAX_BYTES).await? else {
            return Ok(None);
        };
        let found = ManifestId::of(&bytes);
        if found != pointer.manifest.digest || bytes.len() as u64 != pointer.manifest.size {
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
    /// As [`Catalog::find_manifest`]; a manifest that is gone.
    pub async fn manifest(&self, pointer: &Pointer) -> Result<Manifest> {
        self.find_manifest(pointer).await?.ok_or_else(|| gone(&pointer.manifest.digest))
    }

    /// Returns the reference to a manifest that is in the store.
    ///
    /// # Errors
    /// A manifest that is gone; a store that could not be looked at.
    pub async fn manifest_reference(&self, digest: &ManifestId) -> Result<Reference<ManifestId>> {
        let found = self.store.head(&layout::manifest(digest)).await?;
        let size = found.map(|meta| meta.size).ok_or_else(|| gone(digest))?;
        Ok(Reference { digest: *digest, size })
    }

    /// Looks for a complete model in these scopes.
    ///
    /// # Errors
    /// No scopes; a store that could not be read, or content that cannot be trusted.
    pub async fn model(&self, scopes: &[Scope], fingerprint: &Fingerprint) -> Result<Lookup> {
        check_readable(scopes)?;
        let mut best = Lookup::Absent;
        for scope in scopes {
            let Some((pointer, _)) = self.pointer(scope, fingerprint).await? else { continue };
            let gaps = self.gaps(&pointer).await?;
            let found = Lookup::Found(Box::new(Found {
                scope: scope.clone(),
                pointer,
                absent: gaps.absent,
                wrong: gaps.wrong,
            }));
            if gaps == Gaps::default() {
                return Ok(found);
            }
            best = found;
        }
        Ok(best)
    }

    /// Returns how many of a model's objects cannot be used.
    ///
    /// # Errors
    /// A store that could not be looked at.
    pub async fn gaps(&self, pointer: &Pointer) -> Result<Gaps> {
        match self.find_manifest(pointer).await? {
            None => Ok(Gaps { absent: 1, wrong: 0 }),
            Some(manifest) => presence::gaps(&self.store, &manifest.blobs()).await,
        }
    }

    /// Reads a head.
    ///
    /// # Errors
    /// A store that could not be read; stored bytes that are no head.
    pub async fn head(&self, scope: &Scope, git_ref: &str) -> Result<Option<(Head, Version)>> {
        let key = self.head_key(scope, git_ref);
        let Some((bytes, version)) = self.read(&key, head::MAX_BYTES).await? else {
            return Ok(None);
        };
        let head = Head::parse(&bytes).map_err(|error| unusable(&key, error))?;
        Ok(Some((head, version)))
    }

    /// Returns the pointer that the first of these refs used last; a head may name a pointer in any
    /// of the scopes.
    ///
    /// # Errors
    /// No scopes; a store that could not be read, or content that cannot be trusted.
    pub async fn latest(
        &self,
        heads: &[(Scope, String)],
        scopes: &[Scope],
    ) -> Result<Option<Pointer>> {
        check_readable(scopes)?;
        for (scope, git_ref) in heads {
            let Some((head, _)) = self.head(scope, git_ref).await? else { continue };
            if let Some(pointer) = self.first_pointer(scopes, &head.fingerprint).await? {
                return Ok(Some(pointer));
            }
        }
        Ok(None)
    }

    /// Reads the inputs that a model was trained from; `None` where the document is gone.
    ///
    /// # Errors
    /// A store that could not be read; a document that is damaged.
    pub async fn inputs_of(&self, pointer: &Pointer) -> Result<Option<InputsDocument>> {
        let key = layout::inputs(&pointer.inputs.digest);
        let Some((bytes, _)) = self.read(&key, inputs::MAX_DOCUMENT_BYTES).await? else {
            return Ok(None);
        };
        let document = InputsDocument::parse(&bytes, &pointer.inputs.digest)
            .map_err(|error| unusable(&key, error))?;
        Ok(Some(document))
    }

    pub(super) fn pointer_key(&self, scope: &Scope, fingerprint: &Fingerprint) -> Key {
        layout::pointer(scope, &self.namespace, &self.model, fingerprint)
    }

    pub(super) fn head_key(&self, scope: &Scope, git_ref: &str) -> Key {
        layout::head(scope, &self.namespace, &self.model, git_ref)
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
