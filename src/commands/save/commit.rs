//! The moment of a save. Before it, readers see nothing; after it, every object is there.

use crate::catalog::RACE;
use crate::commands::Context;
use crate::decide::commit::{self, Commit, Existing};
use crate::error::{Error, Result};
use crate::format::{MAX_NUMBER, Nonce, Pointer};
use crate::retry::Failure;
use crate::store::Condition;
use crate::transfer::presence::Gaps;

/// Makes the pointer visible, or adopts the pointer of a faster run. Returns the pointer, and
/// whether this save wrote it.
pub(super) async fn commit(
    ctx: &Context,
    draft: Pointer,
    base: Option<&Nonce>,
    unusable: bool,
) -> Result<(Pointer, bool)> {
    RACE.run(|| attempt(ctx, &draft, base, unusable)).await
}

async fn attempt(
    ctx: &Context,
    draft: &Pointer,
    base: Option<&Nonce>,
    unusable: bool,
) -> std::result::Result<(Pointer, bool), Failure<Error>> {
    let existing = ctx.catalog.pointer(&draft.scope, &draft.fingerprint).await?;
    if let Some((found, _)) = existing.as_ref().filter(|(found, _)| found.nonce == draft.nonce) {
        // An earlier attempt wrote the pointer, although its answer was lost.
        return Ok((found.clone(), true));
    }
    let complete = match &existing {
        // This save has just checked or sent the same blobs.
        Some((found, _)) if found.manifest.digest == draft.manifest.digest => true,
        Some((found, _)) => ctx.catalog.gaps(found).await? == Gaps::default(),
        None => false,
    };
    let forbidden = match &existing {
        Some((found, _)) if ctx.access.reads_this_run => {
            !ctx.saved_here().await?.iter().any(|saved| saved.nonce == found.nonce)
        }
        _ => false,
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
    if ctx.catalog.write_pointer(&pointer, condition).await? {
        return Ok((pointer, true));
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
