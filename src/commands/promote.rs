//! Promotion: a push to the default branch takes over the model that the merged pull request
//! trained.
//!
//! GitHub's API must confirm each fact of the proof. Otherwise this module reports the reason, and
//! the plan asks for a training. A failed promotion never fails the plan.

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

/// The proven pointer and its evidence.
struct Proof {
    pointer: Pointer,
    stored: Digest,
    artifact_id: u64,
}

/// Promotes the pull request's model if the user enabled promotion and this run may promote.
/// Returns whether the store now has a trusted pointer.
pub async fn attempt(ctx: &Context, document: &InputsDocument) -> bool {
    let Some(run) = &ctx.run else { return false };
    if !ctx.settings.promote || !is_due(run, &ctx.access, &ctx.policy) {
        return false;
    }
    match promote(ctx, run, document).await {
        Ok(pointer) => {
            let from = pointer.promotion.as_ref().map_or(0, |promotion| promotion.pull_request);
            ctx.report.info(&format!(
                "{}: the model of pull request #{from} is trusted now",
                ctx.settings.model
            ));
            true
        }
        Err(Unproven::Fact(why)) => {
            ctx.report.info(&format!("{}: nothing is promoted: {why}", ctx.settings.model));
            false
        }
        Err(Unproven::Failed(error)) => {
            ctx.report.warn_of("nothing is promoted", &error);
            false
        }
    }
}

/// The reason why nothing is promoted.
enum Unproven {
    /// A fact speaks against the promotion.
    Fact(String),
    /// A failure hides the facts.
    Failed(Error),
}

impl From<String> for Unproven {
    fn from(fact: String) -> Self {
        Self::Fact(fact)
    }
}

impl From<Error> for Unproven {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type Proven<T> = std::result::Result<T, Unproven>;

async fn promote(ctx: &Context, run: &RunContext, document: &InputsDocument) -> Proven<Pointer> {
    let rest =
        ctx.rest.as_ref().ok_or_else(|| Error::bad_input("`promote` needs a `github-token`"))?;
    let (Some(default_branch), Some(workflow)) = (run.default_branch.clone(), run.workflow_path())
    else {
        let unknown =
            "the runner does not name the workflow file that is running (GITHUB_WORKFLOW_REF)";
        return Err(Error::failed(unknown).into());
    };
    let here = Here {
        repository_id: run.repository_id,
        repository: run.repository.clone(),
        default_branch,
        sha: run.sha.clone(),
        workflow: workflow.to_owned(),
    };
    let fingerprint = document.digests().fingerprint;
    let mut why = format!("the commit {} merged no pull request", run.sha);
    for pull in rest.pull_requests_of_commit(&run.repository, &run.sha).await? {
        let pull = pull_facts(&pull);
        if let Err(fact) = merged_here(&pull, &here) {
            why = format!("pull request #{}: {fact}", pull.number);
            continue;
        }
        match proof(ctx, rest, &here, &pull, &fingerprint).await {
            Ok((proof, training)) => {
                return take_over(ctx, run, &pull, &training, proof, document).await;
            }
            Err(Unproven::Fact(fact)) => why = format!("pull request #{}: {fact}", pull.number),
            Err(failed) => return Err(failed),
        }
    }
    Err(why.into())
}

/// Looks for the run that trained the model, and for the artifact that proves it.
async fn proof(
    ctx: &Context,
    rest: &Rest,
    here: &Here,
    pull: &PullFacts,
    fingerprint: &Fingerprint,
) -> Proven<(Proof, TrainingRun)> {
    let scope = Scope::PullRequest(pull.number);
    let Some(stored) = ctx.catalog.pointer_bytes(&scope, fingerprint).await? else {
        return Err("it trained no model of these inputs".to_owned().into());
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
    without_rivals(&rivals, pull)?;
    let mut why = format!(
        "`{}` has no successful `pull_request` run for the commit {}",
        here.workflow, pull.head_sha
    );
    let mut comparison = Comparison { rest, here, known: BTreeMap::new() };
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
        if let Some(Followed { file, sha }) = comparison.changed(files).await? {
            why = refused(format!(
                "`{file}` differs between the commit that the run followed, {sha}, and {}",
                here.sha
            ));
            continue;
        }
        match saved_by(ctx, rest, here, pull, &training, &stored, fingerprint).await {
            Ok(proof) => return Ok((proof, training)),
            Err(Unproven::Fact(fact)) => why = refused(fact),
            Err(failed) => return Err(failed),
        }
    }
    Err(why.into())
}

/// Looks for the run's artifact that holds the same pointer as the store.
async fn saved_by(
    ctx: &Context,
    rest: &Rest,
    here: &Here,
    pull: &PullFacts,
    training: &TrainingRun,
    stored: &[u8],
    fingerprint: &Fingerprint,
) -> Proven<Proof> {
    let Settings { namespace, model, .. } = &ctx.settings;
    let prefix = ctx.settings.artifact_prefix();
    let mut why = "it has no artifact with the store's pointer".to_owned();
    for found in rest.artifacts_of_run(&here.repository, training.id).await?.iter().rev() {
        if found.expired || !artifact::is_own(&found.name, &prefix) {
            continue;
        }
        let bytes = match rest.pointer_in(&here.repository, found).await {
            Ok(bytes) => bytes,
            // Another artifact may hold the pointer.
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let wanted = Wanted { namespace, model, fingerprint };
        match same_pointer(stored, &bytes, training, pull, wanted, ctx.now) {
            Ok(pointer) => {
                return Ok(Proof { pointer, stored: Digest::of(stored), artifact_id: found.id });
            }
            Err(fact) => why = fact,
        }
    }
    Err(why.into())
}

/// Compares workflow files at the commit of a run with the same files at the merge commit.
struct Comparison<'a> {
    rest: &'a Rest,
    here: &'a Here,
    /// Whether a file is the same in both commits. Most runs of a commit share their files, so this
    /// map saves requests.
    known: BTreeMap<Followed, bool>,
}

impl Comparison<'_> {
    /// Returns the first file that differs from the merge commit.
    async fn changed(&mut self, files: Vec<Followed>) -> Result<Option<Followed>> {
        for followed in files {
            let same = match self.known.get(&followed) {
                Some(same) => *same,
                None => self.is_same(&followed).await?,
            };
            self.known.insert(followed.clone(), same);
            if !same {
                return Ok(Some(followed));
            }
        }
        Ok(None)
    }

    async fn is_same(&self, followed: &Followed) -> Result<bool> {
        let repository = &self.here.repository;
        let then = self.rest.file_id(repository, &followed.file, &followed.sha).await?;
        Ok(then.is_some()
            && then == self.rest.file_id(repository, &followed.file, &self.here.sha).await?)
    }
}

/// Writes the trusted pointer. If another run was faster, returns the pointer of that run.
async fn take_over(
    ctx: &Context,
    run: &RunContext,
    pull: &PullFacts,
    training: &TrainingRun,
    proof: Proof,
    document: &InputsDocument,
) -> Proven<Pointer> {
    let Proof { pointer, stored, artifact_id } = proof;
    let incomplete = || {
        format!(
            "objects of the model of pull request #{} are missing or damaged in the store",
            pull.number
        )
    };
    let Some(manifest) = ctx.catalog.find_manifest(&pointer).await? else {
        return Err(incomplete().into());
    };
    if presence::gaps(&ctx.store, &manifest.blobs()).await? != Gaps::default() {
        return Err(incomplete().into());
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
        // This run computes these values itself, because the pull request's pointer is foreign.
        inputs: ctx.catalog.keep_inputs(document).await?,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        promotion: Some(promotion),
        previous: Vec::new(),
        nonce: nonce(),
        ..pointer
    };
    if ctx.catalog.write_pointer(&promoted, Condition::Absent).await? {
        return Ok(promoted);
    }
    match ctx.catalog.pointer(&Scope::Trusted, &promoted.fingerprint).await? {
        Some((winner, _)) => Ok(winner),
        None => Err("another run is writing the pointer".to_owned().into()),
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
