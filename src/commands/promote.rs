//! Promotion: a push to the default branch takes over the model that the pull request merged there
//! has trained, where GitHub's API proves that it did.
//!
//! Whatever stands in the way is told and leads to a training, never to a failure.

use std::collections::BTreeMap;

use super::Context;
use crate::catalog::{nonce, now};
use crate::decide::promote::{
    Followed, Here, Rivals, Wanted, is_due, merged_here, same_pointer, trained_there,
    without_rivals, workflow_files,
};
use crate::error::{Error, Result};
use crate::format::pointer::{Promotion, schema_for};
use crate::format::{Digest, Fingerprint, InputsDocument, Pointer, Scope, artifact};
use crate::github::rest::{PullRequest, Rest, Run};
use crate::settings::Settings;
use crate::store::Condition;
use crate::transfer::presence::{self, Gaps};
use crate::workflow::RunContext;
use crate::workflow::facts::{Called, PullFacts, TrainingRun};

/// What was proven, and by which artifact.
struct Proof {
    pointer: Pointer,
    stored: Digest,
    artifact_id: u64,
}

/// Promotes where the user wants it and the run may; returns whether there is a trusted pointer
/// now.
pub async fn attempt(ctx: &Context, document: &InputsDocument) -> bool {
    let Some(run) = &ctx.run else { return false };
    if !ctx.settings.promote || !is_due(run, &ctx.access, &ctx.policy) {
        return false;
    }
    match promote(ctx, run, document).await {
        Ok(Ok(pointer)) => {
            let from = pointer.promotion.as_ref().map_or(0, |promotion| promotion.pull_request);
            ctx.report.info(&format!(
                "{}: the model of pull request #{from} is trusted now",
                ctx.settings.model
            ));
            true
        }
        Ok(Err(why)) => {
            ctx.report.info(&format!("{}: nothing is promoted: {why}", ctx.settings.model));
            false
        }
        Err(error) => {
            ctx.report.warn_of("nothing is promoted", &error);
            false
        }
    }
}

/// The outer error is a failure, the inner one the reason why nothing may be promoted.
async fn promote(
    ctx: &Context,
    run: &RunContext,
    document: &InputsDocument,
) -> Result<std::result::Result<Pointer, String>> {
    let rest =
        ctx.rest.as_ref().ok_or_else(|| Error::bad_input("`promote` needs a `github-token`"))?;
    let (Some(default_branch), Some(workflow)) = (run.default_branch.clone(), run.workflow_path())
    else {
        return Err(Error::failed(
            "the runner does not say which workflow file of the repository is running",
        ));
    };
    let here = Here {
        repository_id: run.repository_id,
        repository: run.repository.clone(),
        default_branch,
        sha: run.sha.clone(),
        workflow: workflow.to_owned(),
    };
    let fingerprint = document.digests().fingerprint;
    let mut why = format!("no pull request was merged by {}", run.sha);
    for pull in rest.pull_requests_of_commit(&run.repository, &run.sha).await? {
        let pull = pull_facts(&pull);
        if let Err(fact) = merged_here(&pull, &here) {
            why = format!("pull request #{}: {fact}", pull.number);
            continue;
        }
        match proof(ctx, rest, &here, &pull, &fingerprint).await? {
            Ok((proof, training)) => {
                return take_over(ctx, run, &pull, &training, proof, document).await;
            }
            Err(fact) => why = format!("pull request #{}: {fact}", pull.number),
        }
    }
    Ok(Err(why))
}

/// Looks for the run that trained.
async fn proof(
    ctx: &Context,
    rest: &Rest,
    here: &Here,
    pull: &PullFacts,
    fingerprint: &Fingerprint,
) -> Result<std::result::Result<(Proof, TrainingRun), String>> {
    let scope = Scope::PullRequest(pull.number);
    let Some(stored) = ctx.catalog.pointer_bytes(&scope, fingerprint).await? else {
        return Ok(Err("it trained no model of these inputs".to_owned()));
    };
    let rivals = Rivals {
        of_branch: rest
            .pull_requests_of_branch(&here.repository, &pull.head_branch)
            .await?
            .iter()
            .map(|pull| pull.number)
            .collect(),
        events: rest.events_of_pull_request(&here.repository, pull.number).await?,
    };
    if let Err(fact) = without_rivals(&rivals, pull) {
        return Ok(Err(fact));
    }
    let mut why = format!("no run of `{}` has ended for {}", here.workflow, pull.head_sha);
    let mut compared = BTreeMap::new();
    for run in rest.runs_of_commit(&here.repository, &pull.head_sha).await? {
        let training = training_run(run);
        let refused = |fact: String| format!("run {}: {fact}", training.id);
        if let Err(fact) = trained_there(&training, pull, here) {
            why = refused(fact);
            continue;
        }
        let files = match workflow_files(&training, here) {
            Ok(files) => files,
            Err(fact) => {
                why = refused(fact);
                continue;
            }
        };
        if let Some(Followed { file, sha }) = changed(files, rest, here, &mut compared).await? {
            why = refused(format!(
                "`{file}` is not the same in the commit that it followed, {sha}, and in {}",
                here.sha
            ));
            continue;
        }
        match saved_by(ctx, rest, here, pull, &training, &stored, fingerprint).await? {
            Ok(proof) => return Ok(Ok((proof, training))),
            Err(fact) => why = refused(fact),
        }
    }
    Ok(Err(why))
}

/// Looks for the artifact in which the run says that it saved the pointer.
async fn saved_by(
    ctx: &Context,
    rest: &Rest,
    here: &Here,
    pull: &PullFacts,
    training: &TrainingRun,
    stored: &[u8],
    fingerprint: &Fingerprint,
) -> Result<std::result::Result<Proof, String>> {
    let Settings { namespace, model, .. } = &ctx.settings;
    let prefix = ctx.settings.artifact_prefix();
    let mut why = "it has no artifact with the pointer that is in the store".to_owned();
    for found in rest.artifacts_of_run(&here.repository, training.id).await?.iter().rev() {
        if found.expired || !artifact::is_own(&found.name, &prefix) {
            continue;
        }
        let bytes = match rest.pointer_in(&here.repository, found).await {
            Ok(bytes) => bytes,
            // The next artifact may be the right one.
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let wanted = Wanted { namespace, model, fingerprint };
        match same_pointer(stored, &bytes, training, pull, wanted, ctx.now) {
            Ok(pointer) => {
                let proof = Proof { pointer, stored: Digest::of(stored), artifact_id: found.id };
                return Ok(Ok(proof));
            }
            Err(fact) => why = fact,
        }
    }
    Ok(Err(why))
}

/// Returns the first of the workflow files that the merge left different. Most runs of a commit
/// share their files, so each is asked for once: `compared` says of a file whether it is the same.
async fn changed(
    files: Vec<Followed>,
    rest: &Rest,
    here: &Here,
    compared: &mut BTreeMap<Followed, bool>,
) -> Result<Option<Followed>> {
    for followed in files {
        let same = match compared.get(&followed) {
            Some(same) => *same,
            None => {
                let then = rest.file_id(&here.repository, &followed.file, &followed.sha).await?;
                then.is_some()
                    && then == rest.file_id(&here.repository, &followed.file, &here.sha).await?
            }
        };
        compared.insert(followed.clone(), same);
        if !same {
            return Ok(Some(followed));
        }
    }
    Ok(None)
}

/// Writes the trusted pointer; whoever was first is as good.
async fn take_over(
    ctx: &Context,
    run: &RunContext,
    pull: &PullFacts,
    training: &TrainingRun,
    proof: Proof,
    document: &InputsDocument,
) -> Result<std::result::Result<Pointer, String>> {
    let Proof { pointer, stored, artifact_id } = proof;
    let incomplete =
        || format!("objects of the model of pull request #{} are gone or damaged", pull.number);
    let Some(manifest) = ctx.catalog.find_manifest(&pointer).await? else {
        return Ok(Err(incomplete()));
    };
    if presence::gaps(&ctx.store, &manifest.blobs()).await? != Gaps::default() {
        return Ok(Err(incomplete()));
    }
    let promotion = Promotion {
        pull_request: pull.number,
        head_sha: pull.head_sha.clone(),
        merge_sha: run.sha.clone(),
        run_id: training.id,
        artifact_id,
        pointer: stored,
        at: now(),
        by: run.producer(),
    };
    let promoted = Pointer {
        schema: schema_for(pointer.forced.as_ref(), Some(&promotion)),
        scope: Scope::Trusted,
        generation: 1,
        // What can be known here is not taken from there.
        inputs: ctx.catalog.keep_inputs(document).await?,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        promotion: Some(promotion),
        previous: Vec::new(),
        nonce: nonce(),
        ..pointer
    };
    if ctx.catalog.write_pointer(&promoted, Condition::Absent).await? {
        return Ok(Ok(promoted));
    }
    match ctx.catalog.pointer(&Scope::Trusted, &promoted.fingerprint).await? {
        Some((winner, _)) => Ok(Ok(winner)),
        None => Ok(Err("another run is writing the pointer".to_owned())),
    }
}

fn training_run(run: Run) -> TrainingRun {
    TrainingRun {
        id: run.id,
        facts: run.facts(),
        head_sha: run.head_sha,
        workflow: run.path,
        called: run.referenced_workflows.map(|called| {
            called.into_iter().map(|one| Called { path: one.path, sha: one.sha }).collect()
        }),
    }
}

fn pull_facts(pull: &PullRequest) -> PullFacts {
    PullFacts {
        number: pull.number,
        is_merged: pull.merged_at.is_some(),
        merge_sha: pull.merge_commit_sha.clone(),
        base_branch: pull.base.name.clone(),
        base_repository_id: pull.base.repo.map(|repository| repository.id),
        head_branch: pull.head.name.clone(),
        head_sha: pull.head.sha.clone(),
        head_repository_id: pull.head.repo.map(|repository| repository.id),
    }
}
