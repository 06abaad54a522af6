//! `plan`: must the model be trained again?

use super::{Context, promote};
use crate::decide::plan::{Found, Lookup};
use crate::decide::{Change, Reason, Verdict, changes, plan};
use crate::error::{Error, Kind, Result};
use crate::format::inputs::Fingerprint;
use crate::format::{InputsDocument, Pointer};
use crate::github::summary::{Summary, files_and_bytes};
use crate::inputs::OnError;
use crate::outputs::Outputs;

/// Changed inputs that a log names; the summary and `--json` have more.
const SHOWN_CHANGES: usize = 10;

/// A decision and everything it rests on.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The inputs.
    pub document: InputsDocument,
    /// Their digests.
    pub inputs: Fingerprint,
    /// Whether to train, and why.
    pub verdict: Verdict,
    /// Whether the store could be looked at.
    pub looked: bool,
    /// The model of these inputs, whatever the verdict.
    pub found: Option<Found>,
    /// The model that the ref used last.
    pub baseline: Option<Pointer>,
    /// How its inputs differ.
    pub changes: Vec<Change>,
}

/// Decides and says so.
///
/// # Errors
/// Inputs that cannot be read; a store that cannot, unless `on-error` is `retrain`; a missing
/// model with `fail-on-miss`.
pub async fn execute(ctx: &Context) -> Result<Outputs> {
    let planned = observe(ctx).await?;
    tell(ctx, &planned);
    if planned.verdict.retrain && ctx.settings.fail_on_miss {
        return Err(Error::not_found(format!(
            "there is no model to use: {}",
            planned.verdict.explanation
        )));
    }
    Ok(planned.outputs())
}

/// Observes and decides, without a word.
///
/// # Errors
/// As [`execute`], but never for a missing model.
pub async fn observe(ctx: &Context) -> Result<Planned> {
    let document = ctx.observe_inputs().await?;
    let inputs = document.fingerprint();
    let (mut looked_up, baseline) = match look(ctx, &inputs).await {
        Ok(seen) => seen,
        // Damage is never an outage: nobody may paper over it by training.
        Err(error) if error.kind() == Kind::Integrity => return Err(error),
        Err(error) if ctx.settings.on_error == OnError::Retrain => {
            ctx.report.warn_of("training, since the store cannot be looked at", &error);
            (Lookup::Failed(error.to_string()), None)
        }
        Err(error) => {
            return Err(error
                .hint("set `on-error: retrain` to train whenever the store cannot be looked at"));
        }
    };
    if matches!(looked_up, Lookup::Absent) && promote::attempt(ctx, &document).await {
        looked_up = ctx.catalog.model(&ctx.access.reads, &inputs.all).await?;
    }
    let (baseline, before) = baseline.unzip();
    let verdict = plan::plan(
        &inputs,
        &looked_up,
        before.as_ref().map(InputsDocument::fingerprint).as_ref(),
        &ctx.settings.policy,
        ctx.now,
    );
    let changes = match &before {
        Some(before) if verdict.reason != Reason::Hit => changes::between(before, &document),
        _ => Vec::new(),
    };
    let looked = !matches!(looked_up, Lookup::Failed(_));
    let found = match looked_up {
        Lookup::Found(found) => Some(*found),
        Lookup::Absent | Lookup::Failed(_) => None,
    };
    Ok(Planned { document, inputs, verdict, looked, found, baseline, changes })
}

async fn look(
    ctx: &Context,
    inputs: &Fingerprint,
) -> Result<(Lookup, Option<(Pointer, InputsDocument)>)> {
    let looked_up = ctx.catalog.model(&ctx.access.reads, &inputs.all).await?;
    if !matches!(looked_up, Lookup::Absent) {
        return Ok((looked_up, None));
    }
    // Only a miss needs something to be compared with.
    match baseline(ctx).await {
        Ok(baseline) => Ok((looked_up, baseline)),
        // An explanation that is damaged is no reason not to train.
        Err(error) if error.kind() == Kind::Integrity => {
            ctx.report.warn_of("nothing to compare with", &error);
            Ok((looked_up, None))
        }
        Err(error) => Err(error),
    }
}

async fn baseline(ctx: &Context) -> Result<Option<(Pointer, InputsDocument)>> {
    let Some(pointer) = ctx.latest_pointer().await? else { return Ok(None) };
    let document = ctx.catalog.inputs_of(&pointer).await?;
    Ok(document.map(|document| (pointer, document)))
}

impl Planned {
    /// Returns the outputs of a plan alone.
    pub fn outputs(&self) -> Outputs {
        Outputs {
            retrain_needed: self.verdict.retrain,
            cache_hit: !self.verdict.retrain,
            reason: Some(self.verdict.reason),
            fingerprint: Some(self.inputs.all),
            inputs: Some(self.inputs),
            changes: self.changes.clone(),
            pointer: self
                .found
                .as_ref()
                .filter(|_| !self.verdict.retrain)
                .map(|found| found.pointer.clone()),
            ..Outputs::default()
        }
    }

    /// Returns the job summary; `decision` is the headline.
    pub fn summary(&self, ctx: &Context, decision: &str) -> String {
        Summary {
            model: ctx.settings.model.as_str(),
            decision,
            reason: (self.verdict.reason.word(), &self.verdict.explanation),
            rows: self.rows(ctx),
            changes: &self.changes,
        }
        .render()
    }

    fn rows(&self, ctx: &Context) -> Vec<(&'static str, String)> {
        let listed = |entries: &[crate::format::InputEntry]| {
            files_and_bytes(
                entries.len() as u64,
                entries.iter().fold(0, |sum, entry| entry.size.saturating_add(sum)),
            )
        };
        let mut rows = vec![
            ("Data", listed(&self.document.data)),
            ("Training code", listed(&self.document.training)),
            ("Fingerprint", self.inputs.all.to_string()),
            (
                "Scope",
                ctx.access
                    .read_only
                    .as_ref()
                    .map_or(ctx.access.own.to_string(), |_| "none: read only".to_owned()),
            ),
        ];
        if let Some(found) = self.found.as_ref().filter(|_| !self.verdict.retrain) {
            rows.extend(model_rows(&found.pointer));
            if let Some(seconds) = found.pointer.train_seconds.filter(|seconds| *seconds > 0) {
                rows.push(("Time saved", format!("{seconds} s")));
            }
        } else if let Some(baseline) = &self.baseline {
            rows.push(("Compared with", made_by(baseline)));
        }
        rows
    }
}

/// Returns the change on one line: a name may hold line ends, and what looks like lines of this
/// program behind them.
pub fn told(change: &Change) -> String {
    let from = change.old_path.as_ref().map(|path| format!(" (was {path})")).unwrap_or_default();
    let told = format!("{} {}: {}{from}", change.set.word(), change.kind.word(), change.path);
    told.replace('\n', "\\n").replace('\r', "\\r")
}

/// Returns the rows that describe a model.
pub fn model_rows(pointer: &Pointer) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Model", files_and_bytes(pointer.files, pointer.bytes)),
        ("Manifest", pointer.manifest.digest.to_string()),
        ("Generation", pointer.generation.to_string()),
        ("Made by", made_by(pointer)),
    ];
    if let Some(forced) = &pointer.forced {
        rows.push(("Forced by", forced.to_string()));
    }
    if let Some(promotion) = &pointer.promotion {
        rows.push((
            "Promoted",
            format!(
                "from pull request #{}, commit {}, by run {}",
                promotion.pull_request,
                promotion.head_sha.get(..12).unwrap_or(&promotion.head_sha),
                promotion.by.run_id
            ),
        ));
    }
    rows
}

/// Returns who made a model, and when.
fn made_by(pointer: &Pointer) -> String {
    let when = pointer.created_at.strftime("%Y-%m-%d %H:%M UTC");
    match &pointer.producer {
        Some(producer) => format!(
            "run {} of {} on {} at {}, {when}",
            producer.run_id,
            producer.repository,
            producer.git_ref,
            producer.sha.get(..12).unwrap_or(&producer.sha)
        ),
        None => format!("no run of GitHub Actions that is on record, {when}"),
    }
}

/// Prints the decision for a person.
pub fn tell(ctx: &Context, planned: &Planned) {
    let verdict = &planned.verdict;
    let decision = if verdict.retrain { "retrain" } else { "no training needed" };
    ctx.report.begin(&format!("{}: {decision} ({})", ctx.settings.model, verdict.reason.word()));
    ctx.report.info(&format!("  {}", verdict.explanation));
    for change in planned.changes.iter().take(SHOWN_CHANGES) {
        ctx.report.info(&format!("  {}", told(change)));
    }
    if planned.changes.len() > SHOWN_CHANGES {
        ctx.report.info(&format!("  … and {} more", planned.changes.len() - SHOWN_CHANGES));
    }
    ctx.report.table(&planned.rows(ctx));
    ctx.report.end();
}
