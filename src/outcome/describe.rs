//! The words for the parts of an outcome.

use indicatif::HumanBytes;

use super::{Outcome, Sent};
use crate::decide::Change;
use crate::decide::bounds::{Bound, Verdict};
use crate::format::metrics::Metric;
use crate::format::pointer::Promotion;
use crate::format::{Pointer, Scope};

/// Returns a text such as `3 files, 1.50 MiB`.
pub fn files_and_bytes(files: u64, bytes: u64) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun}, {}", HumanBytes(bytes))
}

/// Returns the sent objects, such as `2 objects, 1.50 MiB`.
pub fn sent(sent: Sent) -> String {
    match sent.blobs {
        0 => "nothing new".to_owned(),
        1 => format!("1 object, {}", HumanBytes(sent.bytes)),
        blobs => format!("{blobs} objects, {}", HumanBytes(sent.bytes)),
    }
}

/// Returns the first `most` of some paths on one line, and the number of the others.
pub fn paths<P: AsRef<str>>(paths: &[P], most: usize) -> String {
    let shown = |path: &P| format!("`{}`", path.as_ref().replace('\n', "\\n"));
    let mut names: Vec<String> = paths.iter().take(most).map(shown).collect();
    if paths.len() > most {
        names.push(format!("… and {} more", paths.len() - most));
    }
    names.join(", ")
}

/// Returns the run that made a model, and the time in UTC.
pub fn made_by(pointer: &Pointer) -> String {
    let when = pointer.created_at.strftime("%Y-%m-%d %H:%M UTC");
    let made_by = match &pointer.producer {
        Some(producer) => format!(
            "run {} of {} on {} at {}, {when}",
            producer.run_id,
            producer.repository,
            producer.git_ref,
            short_commit(&producer.sha)
        ),
        None => format!("an unrecorded producer (no run of GitHub Actions), {when}"),
    };
    said(pointer, made_by)
}

/// Returns who forced the training of a model, and how; `None` if nobody did.
pub fn forced(pointer: &Pointer) -> Option<String> {
    Some(said(pointer, pointer.forced.as_ref()?.to_string()))
}

/// Marks a text of a pointer as a claim, unless only trusted runs write the pointer's scope.
pub(super) fn said(pointer: &Pointer, text: String) -> String {
    match pointer.scope {
        Scope::Trusted => text,
        _ => format!("according to its pointer, {text}"),
    }
}

/// Returns a broken bound with the metric's value.
pub fn broken(bound: &Bound, verdict: Verdict, metrics: &[Metric]) -> String {
    let found = metrics.iter().find(|metric| metric.name == bound.metric);
    match (found, verdict) {
        (Some(metric), Verdict::Broken(limit)) => {
            // The sum of two decimals has digits that nobody wrote.
            let limit = (limit * 1e9).round() / 1e9;
            format!("`{bound}`: {} is {}, and the limit is {limit}", metric.name, metric.value)
        }
        _ => {
            let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
            format!("`{bound}`: there is no such metric; there are {}", paths(&names, 8))
        }
    }
}

/// Returns the origin of a promoted model.
pub fn promotion(promotion: &Promotion) -> String {
    format!(
        "from pull request #{}, commit {}, by run {}",
        promotion.pull_request,
        short_commit(&promotion.head_sha),
        promotion.by.run_id
    )
}

/// Returns the change on one line. A name may contain line ends, and then text that looks like
/// lines of this program.
pub fn change(change: &Change) -> String {
    let from = change.old_path.as_ref().map(|path| format!(" (was {path})")).unwrap_or_default();
    let told = format!("{} {}: {}{from}", change.set.word(), change.kind.word(), change.path);
    told.replace('\n', "\\n").replace('\r', "\\r")
}

/// Returns the reason why there is no such model, as a message without a full stop.
pub fn not_found(outcome: &Outcome) -> String {
    let scopes: Vec<String> = outcome.searched.iter().map(|it| format!("`{it}`")).collect();
    format!(
        "cannot {} `{}` of `{}`: {} (looked in {})",
        outcome.command,
        outcome.model,
        outcome.namespace,
        outcome.explanation,
        scopes.join(", ")
    )
}

fn short_commit(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}
