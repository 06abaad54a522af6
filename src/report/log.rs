//! The view of an outcome in the log.

use super::Report;
use crate::outcome::describe::{self, files_and_bytes};
use crate::outcome::metrics;
use crate::outcome::{Ending, Outcome};
use crate::report::outputs;

/// The log names at most this many changed inputs. The summary names more, and `--json` names all.
const SHOWN_CHANGES: usize = 10;

impl Report {
    /// Prints an outcome.
    pub fn tell(&self, outcome: &Outcome) {
        let line = |text: String| self.info(&format!("{}: {text}", outcome.model));
        let files = outcome.pointer.as_ref().map(|it| files_and_bytes(it.files, it.bytes));
        let files = files.unwrap_or_default();
        match outcome.ending {
            Ending::Retrain | Ending::UpToDate | Ending::Resolved | Ending::Ready => {
                self.fold(outcome)
            }
            Ending::Restored => {
                let restored = outcome.restored.unwrap_or_default();
                let fetched = files_and_bytes(restored.fetched_files, restored.fetched_bytes);
                line(format!(
                    "restored {files} ({} unchanged, fetched {fetched})",
                    restored.unchanged_files
                ));
            }
            Ending::Recovered => {
                let fetched = outcome.restored.unwrap_or_default();
                let files = fetched.unchanged_files + fetched.fetched_files;
                self.warn(&format!(
                    "{}: restored {files} files of a refused model; {}",
                    outcome.model, outcome.explanation
                ));
            }
            Ending::Verified => line(format!(
                "every byte is as it was saved ({files}, manifest {})",
                manifest(outcome)
            )),
            Ending::Saved | Ending::Trained { saved: true } => {
                let sent = outcome.sent.map(describe::sent).unwrap_or_default();
                let (generation, scope) = outcome
                    .pointer
                    .as_ref()
                    .map(|it| (it.generation, it.scope.to_string()))
                    .unwrap_or_default();
                line(format!(
                    "saved {files} as generation {generation} in the scope `{scope}` ({sent} \
                     uploaded)"
                ));
                if let Some(metrics) = metrics::line(outcome, SHOWN_CHANGES) {
                    line(format!("metrics: {metrics}"));
                }
            }
            Ending::Kept | Ending::Trained { saved: false } => {
                line(format!("{} (manifest {})", outcome.explanation, manifest(outcome)));
            }
            Ending::NotSaved => {
                self.warn(&format!("{}: not saved: {}", outcome.model, outcome.explanation));
            }
            Ending::NotFound => self.warn(&describe::not_found(outcome)),
        }
        if let Some(artifact) = &outcome.artifact {
            line(format!("the artifact `{}` holds the pointer", artifact.name));
        }
    }

    /// Prints all facts of an outcome, in a fold under a headline.
    fn fold(&self, outcome: &Outcome) {
        let (headline, word) = (outcome.ending.headline(), outcome.word());
        let reason = if word == headline { String::new() } else { format!(" ({word})") };
        self.begin(&format!("{}: {headline}{reason}", outcome.model));
        self.info(&format!("  {}", outcome.explanation));
        for change in outcome.changes.iter().take(SHOWN_CHANGES) {
            self.info(&format!("  {}", describe::change(change)));
        }
        if outcome.changes.len() > SHOWN_CHANGES {
            self.info(&format!("  … and {} more", outcome.changes.len() - SHOWN_CHANGES));
        }
        self.table(&outcome.rows());
        // The command line prints the pointer on standard output instead.
        if outcome.ending == Ending::Resolved && self.in_actions {
            self.info(outputs::pointer_text(outcome).unwrap_or_default().trim_end());
        }
        self.end();
    }
}

fn manifest(outcome: &Outcome) -> String {
    outcome.pointer.as_ref().map(|it| it.manifest.digest.to_string()).unwrap_or_default()
}
