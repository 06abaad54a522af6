//! Promotion: a push to the default branch takes over the model that the merged pull request
//! trained.
//!
//! GitHub's API must confirm each fact of the proof. Otherwise this module reports the reason, and
//! the plan asks for a training. A failed promotion never fails the plan.

use std::collections::BTreeMap;

use super::Context;
use crate::catalog::{Written, nonce, now};
use crate::decide::promote::{
    Followed, Here, Rivals, Wanted, is_due, merged_here, only_trusted, same_pointer, trained_there,
    without_rivals, workflow_files,
};
use crate::error::{Error, Result};
use crate::format::pointer::Promotion;
use crate::format::{Digest, Fingerprint, InputsDocument, Pointer, Scope, artifact};
use crate::github::rest::{PullRequest, Rest, Run};
use crate::settings::Settings;
use crate::store::Condition;
use crate::transfer::addressed::Guess;
use crate::transfer::{presence, selection};
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
    let vouches = matches!(ctx.access.own, Scope::PullRequest(_)) && ctx.access.read_only.is_none();
    if ctx.settings.promote && vouches && !ctx.access.reads_this_run {
        ctx.report.warn(
            "the default branch will not take over the model of this run, because the step does \
             not say `read-scopes: trusted`",
        );
    }
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
        action: run.action.clone(),
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
    let mut workflows = Workflows { rest, here, known: BTreeMap::new() };
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
        if let Some(fact) = workflows.objection(files).await? {
            why = refused(fact);
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

/// Checks the workflow files that runs followed.
struct Workflows<'a> {
    rest: &'a Rest,
    here: &'a Here,
    /// The fact that speaks against each file. Most runs of a commit share their files, so this map
    /// saves requests.
    known: BTreeMap<Followed, Option<String>>,
}

impl Workflows<'_> {
    /// Returns the first fact that speaks against the files, as a sentence without a full stop.
    async fn objection(&mut self, files: Vec<Followed>) -> Result<Option<String>> {
        for followed in files {
            let objection = match self.known.get(&followed) {
                Some(objection) => objection.clone(),
                None => self.objection_to(&followed).await?,
            };
            self.known.insert(followed, objection.clone());
            if objection.is_some() {
                return Ok(objection);
            }
        }
        Ok(None)
    }

    async fn objection_to(&self, followed: &Followed) -> Result<Option<String>> {
        let Followed { repository, file, sha } = followed;
        let Some(then) = self.rest.file(repository, file, sha).await? else {
            return Ok(Some(format!("`{file}` of `{repository}` cannot be read at {sha}")));
        };
        // A file of another repository is not part of the merge.
        if *repository == self.here.repository {
            let merged = self.rest.file(repository, file, &self.here.sha).await?;
            if merged.is_none_or(|merged| merged.id != then.id) {
                return Ok(Some(format!(
                    "`{file}` differs between the commit that the run followed, {sha}, and {}",
                    self.here.sha
                )));
            }
        }
        let read = only_trusted(&then.text, repository, self.here.action.as_deref());
        Ok(read.err().map(|why| format!("`{file}` lets the run read untrusted models: {why}")))
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
    // The trusted scope has second names of its own.
    let pointer = Pointer { scope: Scope::Trusted, ..pointer };
    let Some(manifest) = ctx.catalog.find_manifest(&pointer).await? else {
        return Err(incomplete().into());
    };
    // Whatever lies under the shared names is adopted here, so it must be right.
    if !presence::is_proven(&ctx.catalog.shelf(&Scope::Trusted), &manifest.blobs()).await? {
        return Err(incomplete().into());
    }
    // A restore from the trusted scope need not say which files it may write.
    if !selection::fits(&manifest, &ctx.settings.model_path) {
        let number = pull.number;
        let why = format!(
            "the model of pull request #{number} has files or links that `model-path` does not \
             select"
        );
        return Err(why.into());
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
        generation: 1,
        // This run computes these values itself, because the pull request's pointer is foreign.
        inputs: ctx.catalog.keep_inputs(&Scope::Trusted, document, Guess::There).await?,
        promotion: Some(promotion),
        previous: Vec::new(),
        nonce: nonce(),
        ..pointer.with_numbers_of(&manifest)
    }
    .with_schema();
    if ctx.catalog.write_pointer(&promoted, Condition::Absent).await? == Written::Done {
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
