//! Reading what the store knows: pointers, manifests, heads, earlier inputs.

use super::Context;
use crate::decide::plan::{Found, Lookup};
use crate::error::{Error, Result};
use crate::format::{
    Digest, FormatError, Head, InputsDocument, Manifest, Pointer, Scope, head, inputs, manifest,
    pointer,
};
use crate::store::{self, Key, Version, layout};
use crate::transfer::presence::{self, Gaps};

/// Reads a pointer and checks that it is the one asked for.
///
/// # Errors
/// A store that could not be read; stored bytes that are no such pointer.
pub async fn pointer(
    ctx: &Context,
    scope: &Scope,
    fingerprint: &Digest,
) -> Result<Option<(Pointer, Version)>> {
    let settings = &ctx.settings;
    let key = layout::pointer(scope, &settings.namespace, &settings.model, fingerprint);
    let Some((bytes, version)) = store::read(&*ctx.store, &key, pointer::MAX_BYTES).await? else {
        return Ok(None);
    };
    let broken = |error| unusable(&key, error);
    let found = Pointer::parse(&bytes).map_err(broken)?;
    found.expect(&settings.namespace, &settings.model, scope, fingerprint).map_err(broken)?;
    Ok(Some((found, version)))
}

/// Reads the manifest that a pointer names, `None` where it is gone.
///
/// # Errors
/// A store that could not be read; bytes that are not the ones the pointer names.
pub async fn manifest(ctx: &Context, pointer: &Pointer) -> Result<Option<Manifest>> {
    let key = layout::manifest(&pointer.manifest.digest);
    let Some((bytes, _)) = store::read(&*ctx.store, &key, manifest::MAX_BYTES).await? else {
        return Ok(None);
    };
    let found = Digest::of(&bytes);
    if found != pointer.manifest.digest || bytes.len() as u64 != pointer.manifest.size {
        return Err(Error::integrity(format!(
            "`{key}` is damaged: its content has the digest {found}"
        ))
        .hint(
            "remove that object from the store, and the next run trains and saves the model anew",
        ));
    }
    let manifest = Manifest::parse(&bytes).map_err(|error| unusable(&key, error))?;
    Ok(Some(manifest))
}

/// Looks for a complete model in every scope that this run reads.
///
/// # Errors
/// A store that could not be read, or content that cannot be trusted.
pub async fn model(ctx: &Context, fingerprint: &Digest) -> Result<Lookup> {
    if ctx.access.reads.is_empty() {
        return Err(may_not_read());
    }
    let mut best = Lookup::Absent;
    for scope in &ctx.access.reads {
        let Some((pointer, _)) = pointer(ctx, scope, fingerprint).await? else { continue };
        let gaps = gaps(ctx, &pointer).await?;
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

/// Returns the refusal of a run that may not read at all.
pub fn may_not_read() -> Error {
    Error::failed("GitHub gives this run no right to read caches (ACTIONS_CACHE_MODE)")
}

fn unusable(key: &Key, error: FormatError) -> Error {
    Error::integrity(format!("`{key}` cannot be used"))
        .caused_by(error)
        .hint("remove that object from the store, and the next run writes it anew")
}

/// Returns how many of a model's objects cannot be used.
///
/// # Errors
/// A store that could not be looked at.
pub async fn gaps(ctx: &Context, pointer: &Pointer) -> Result<Gaps> {
    match manifest(ctx, pointer).await? {
        None => Ok(Gaps { absent: 1, wrong: 0 }),
        Some(manifest) => presence::gaps(&ctx.store, &manifest.blobs()).await,
    }
}

/// Reads a head.
///
/// # Errors
/// A store that could not be read; stored bytes that are no head.
pub async fn head(ctx: &Context, scope: &Scope, git_ref: &str) -> Result<Option<(Head, Version)>> {
    let key = layout::head(scope, &ctx.settings.namespace, &ctx.settings.model, git_ref);
    let Some((bytes, version)) = store::read(&*ctx.store, &key, head::MAX_BYTES).await? else {
        return Ok(None);
    };
    let head = Head::parse(&bytes).map_err(|error| unusable(&key, error))?;
    Ok(Some((head, version)))
}

/// Returns the pointer that the refs in question used last.
///
/// # Errors
/// A store that could not be read.
pub async fn latest(ctx: &Context) -> Result<Option<Pointer>> {
    if ctx.access.reads.is_empty() {
        return Err(may_not_read());
    }
    for (scope, git_ref) in &ctx.heads {
        let Some((head, _)) = head(ctx, scope, git_ref).await? else { continue };
        for scope in &ctx.access.reads {
            if let Some((pointer, _)) = pointer(ctx, scope, &head.fingerprint).await? {
                return Ok(Some(pointer));
            }
        }
    }
    Ok(None)
}

/// Reads the inputs that a model was trained from; `None` where the document is gone.
///
/// # Errors
/// A store that could not be read; a document that is damaged.
pub async fn inputs_of(ctx: &Context, pointer: &Pointer) -> Result<Option<InputsDocument>> {
    let key = layout::inputs(&pointer.inputs.digest);
    let Some((bytes, _)) = store::read(&*ctx.store, &key, inputs::MAX_DOCUMENT_BYTES).await? else {
        return Ok(None);
    };
    let document = InputsDocument::parse(&bytes, &pointer.inputs.digest)
        .map_err(|error| unusable(&key, error))?;
    Ok(Some(document))
}
