//! The moment of a save. Before it, readers see nothing; after it, every object is there.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalog::{Earlier, RACE, Unheeded, Written};
use crate::commands::Context;
use crate::decide::commit::{self, Commit, Existing};
use crate::error::{Error, Result};
use crate::format::{MAX_NUMBER, Nonce, Pointer};
use crate::retry::Failure;
use crate::store::{Condition, Version};
use crate::transfer::presence::Gaps;

/// Makes the pointer visible, or adopts the pointer of a faster run. Returns the pointer, and
/// whether this save wrote it. `read` is the pointer as this save has read it.
pub(super) async fn commit(
    ctx: &Context,
    draft: Pointer,
    base: Option<&Nonce>,
    unusable: bool,
    read: Option<Earlier<Pointer>>,
) -> Result<(Pointer, bool)> {
    let refused = Unheeded::default();
    // Whether to adopt a pointer is to be decided by how it is now.
    let absent = read.and_then(Earlier::fresh).is_some_and(|found| found.is_none());
    let absent = AtomicBool::new(absent);
    RACE.run(|| async {
        let existing = match absent.swap(false, Ordering::Relaxed) {
            true => None,
            false => ctx.catalog.pointer(&draft.scope, &draft.fingerprint).await?,
        };
        attempt(ctx, &draft, base, unusable, existing, &refused).await
    })
    .await
}

/// Takes the numbers of the stored pointer's manifest, and returns whether its model is complete.
async fn measured(
    ctx: &Context,
    existing: Option<(Pointer, Version)>,
    draft: &Pointer,
) -> Result<(Option<(Pointer, Version)>, bool)> {
    Ok(match existing {
        // This save has just checked or sent the same blobs.
        Some((found, version)) if found.manifest.digest == draft.manifest.digest => {
            let (files, bytes) = (draft.files, draft.bytes);
            (Some((Pointer { files, bytes, ..found }, version)), true)
        }
        Some((found, version)) => {
            let (found, gaps) = ctx.catalog.measured(found).await?;
            (Some((found, version)), gaps == Gaps::default())
        }
        None => (None, false),
    })
}

/// Returns whether this run may not use the pointer, because it did not save the model itself.
async fn is_forbidden(ctx: &Context, found: &Pointer) -> Result<bool> {
    Ok(ctx.access.reads_this_run
        && !ctx.saved_here().await?.iter().any(|saved| saved.nonce == found.nonce))
}

async fn attempt(
    ctx: &Context,
    draft: &Pointer,
    base: Option<&Nonce>,
    unusable: bool,
    existing: Option<(Pointer, Version)>,
    refused: &Unheeded,
) -> std::result::Result<(Pointer, bool), Failure<Error>> {
    if let Some((found, _)) = existing.as_ref().filter(|(found, _)| found.nonce == draft.nonce) {
        // An earlier attempt wrote the pointer, although its answer was lost.
        return Ok((found.clone(), true));
    }
    let there = existing.as_ref().map(|(found, _)| found.nonce.clone());
    refused.check(there.as_ref(), || {
        format!("the pointer of {} in the scope `{}`", draft.fingerprint, draft.scope)
    })?;
    let (existing, complete) = measured(ctx, existing, draft).await?;
    let forbidden = match &existing {
        Some((found, _)) => is_forbidden(ctx, found).await?,
        None => false,
    };
    let in_the_way = existing.as_ref().map(|(pointer, _)| Existing {
        pointer,
        complete,
        is_base: base == Some(&pointer.nonce),
        unusable,
        forbidden,
        protected: !ctx.access.replaces,
    });
    let (generation, previous, condition) = match (
        commit::commit(in_the_way, &draft.manifest.digest, &ctx.policy, ctx.now),
        existing,
    ) {
        (Commit::Adopt, Some((found, _))) => return Ok((found, false)),
        (Commit::Replace { generation, previous }, Some((_, version))) => {
            (generation, previous, Condition::Unchanged(version))
        }
        _ => (1, Vec::new(), Condition::Absent),
    };
    if generation > MAX_NUMBER {
        let full = format!(
            "the pointer of {} in the scope `{}` has the largest generation already",
            draft.fingerprint, draft.scope
        );
        return Err(Error::integrity(full)
            .hint("remove that pointer from the store; no run of this action writes such a number")
            .into());
    }
    let pointer = Pointer { generation, previous, ..draft.clone() };
    match ctx.catalog.write_pointer(&pointer, condition).await? {
        Written::Done => return Ok((pointer, true)),
        Written::Refused => refused.note(there),
        Written::Undecided => {}
    }
    Err(Failure::passing(
        Error::failed(format!(
            "cannot write the pointer of {} in the scope `{}`: other runs changed it {} times \
             meanwhile",
            draft.fingerprint, draft.scope, RACE.attempts
        ))
        .hint("run the save again"),
    ))
}
