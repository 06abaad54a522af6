//! Reads a model's documents, and checks everything that the store returns.

use bytes::Bytes;

use super::Catalog;
use crate::decide::origin;
use crate::decide::verdict::{Found, Lookup};
use crate::error::{Error, Kind, Result};
use crate::format::pointer::Reference;
use crate::format::{
    Fingerprint, FormatError, Head, HeadName, InputsDocument, Manifest, ManifestId, Pointer,
    Refused, Scope, head, inputs, manifest, pointer, refused,
};
use crate::store::{self, Home, Key, StoreErrorKind, Version, layout};
use crate::transfer::download;
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
    /// - No stored bytes have the digest and the length that the pointer says.
    /// - The stored bytes break a rule of the format.
    pub async fn find_manifest(&self, pointer: &Pointer) -> Result<Option<Manifest>> {
        let Reference { digest, size } = &pointer.manifest;
        let found = self.read_manifest(&pointer.scope, digest, Some(*size)).await?;
        Ok(found.map(|(_, manifest)| manifest))
    }

    /// Reads a manifest from the first name that holds it. Without a size, no pointer says it.
    async fn read_manifest(
        &self,
        scope: &Scope,
        digest: &ManifestId,
        size: Option<u64>,
    ) -> Result<Option<(u64, Manifest)>> {
        let most = size.unwrap_or(manifest::MAX_BYTES as u64);
        let plain = (layout::manifest(digest), manifest::MAX_PLAIN_BYTES.min(most as usize));
        let packed = (layout::packed_manifest(digest), manifest::most_stored(most));
        let packed_key = packed.0.clone();
        // A small manifest is never compressed. Earlier versions compressed no manifest.
        let names = match size {
            Some(size) if size <= manifest::PACKED_ABOVE => vec![plain],
            Some(_) => vec![packed, plain],
            None => vec![plain, packed],
        };
        self.first_right(scope, &names, |shared, key, bytes| {
            let broken = |error| unusable(key, error);
            if *shared == packed_key {
                let size = match size {
                    Some(size) => size,
                    None => manifest::unpacked_size(bytes, digest).map_err(broken)?,
                };
                return Ok((size, Manifest::unpack(bytes, digest, size).map_err(broken)?));
            }
            let (found, length) = (ManifestId::of(bytes), bytes.len() as u64);
            if found != *digest || size.is_some_and(|size| size != length) {
                let damage = format!("`{key}` is damaged: its content has the digest {found}");
                return Err(Error::integrity(damage).hint(REMOVE));
            }
            Ok((length, Manifest::parse(bytes).map_err(broken)?))
        })
        .await
    }

    /// Reads the first of these objects that `parse` accepts, each at most to the given length:
    /// first under the shared names, then under the second names of the scope. `parse` gets the
    /// shared name, the name that was read, and the bytes.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - No object is right. This is the error of the first object that is there.
    async fn first_right<T>(
        &self,
        scope: &Scope,
        names: &[(Key, usize)],
        parse: impl Fn(&Key, &Key, &[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        let home = Home::of(scope, &self.namespace, &self.model);
        let mut first = None;
        for is_second in [false, true] {
            for (shared, most) in names {
                let key = if is_second { home.second(shared) } else { shared.clone() };
                let error = match store::read(&*self.store, &key, *most).await {
                    Ok(None) => continue,
                    Ok(Some((bytes, _))) => match parse(shared, &key, &bytes) {
                        Ok(found) => return Ok(Some(found)),
                        Err(error) => error,
                    },
                    Err(error) if error.kind == StoreErrorKind::Unusable => {
                        download::unusable(error)
                    }
                    // A role without a right to the second names changes nothing.
                    Err(error) if error.kind.may_spare_others() && is_second => continue,
                    Err(error) if error.kind.may_spare_others() => error.into(),
                    Err(error) => return Err(error.into()),
                };
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(None), Err)
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
        let Reference { digest, size } = &record.manifest;
        let found = self.read_manifest(scope, digest, Some(*size)).await?;
        let (_, manifest) = found.ok_or_else(|| gone(digest))?;
        Ok(Some((record, manifest)))
    }

    /// Reads a manifest that an earlier generation of a scope's pointer names by its digest alone,
    /// and returns its reference, too.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - The store does not have the manifest, or it is damaged.
    pub async fn earlier_manifest(
        &self,
        scope: &Scope,
        digest: &ManifestId,
    ) -> Result<(Reference<ManifestId>, Manifest)> {
        let found = self.read_manifest(scope, digest, None).await?;
        let (size, manifest) = found.ok_or_else(|| gone(digest))?;
        Ok((Reference { digest: *digest, size }, manifest))
    }

    /// Reads a manifest that a head names, if it is small and lies under its shared name. So the
    /// answer costs one request and little memory; `None` says nothing about the manifest.
    pub async fn glance(&self, digest: &ManifestId) -> Option<Manifest> {
        let most = manifest::PACKED_ABOVE as usize;
        let read = self.read(&layout::manifest(digest), most).await;
        let (bytes, _) =
            read.ok().flatten().filter(|(bytes, _)| ManifestId::of(bytes) == *digest)?;
        Manifest::parse(&bytes).ok()
    }

    /// Looks in these scopes, in order, for a model whose objects are all in the store.
    ///
    /// If every model has a gap, returns the model of the last scope that has a pointer.
    ///
    /// # Errors
    /// - The list of scopes is empty.
    /// - The store cannot be read.
    /// - A pointer is damaged.
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
    /// The store cannot be read.
    pub async fn measured(&self, pointer: Pointer) -> Result<(Pointer, Gaps)> {
        let manifest = match self.find_manifest(&pointer).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok((pointer, Gaps::ABSENT)),
            // A training writes the manifest anew. A restore names the object in its error.
            Err(error) if error.kind() == Kind::Integrity => return Ok((pointer, Gaps::WRONG)),
            Err(error) => return Err(error),
        };
        let gaps = match manifest.reserved() {
            // A restore refuses such a model, so a training must replace it.
            Some(_) => Gaps::WRONG,
            None => presence::gaps(&self.shelf(&pointer.scope), &manifest.blobs()).await?,
        };
        Ok((pointer.with_numbers_of(&manifest), gaps))
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
        let Reference { digest, size } = &pointer.inputs;
        let names = [(layout::inputs(digest), inputs::most_stored(*size))];
        self.first_right(&pointer.scope, &names, |_, key, bytes| {
            InputsDocument::parse(bytes, digest, *size).map_err(|error| unusable(key, error))
        })
        .await
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

const REMOVE: &str =
    "remove that object from the store, and the next run trains and saves the model anew";

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
