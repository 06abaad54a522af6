//! The verbs: observe, let [`crate::decide`] decide, apply.

pub mod interrupt;
pub mod lookup;
pub mod plan;
pub mod restore;
pub mod run;
pub mod save;
pub mod verify;

use std::sync::Arc;

use jiff::Timestamp;

use crate::decide::{Access, scope};
use crate::error::Result;
use crate::fingerprint;
use crate::format::InputsDocument;
use crate::github::RunContext;
use crate::inputs::Settings;
use crate::progress::Progress;
use crate::report::Report;
use crate::store::{self, DynStore};
use crate::transfer::stage;

/// The ref of runs outside of GitHub Actions.
const LOCAL_REF: &str = "local";

/// Everything that a command works with.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the user wants.
    pub settings: Settings,
    /// The workflow run, if there is one.
    pub run: Option<RunContext>,
    /// What this run may read and write.
    pub access: Access,
    /// The store.
    pub store: DynStore,
    /// Where to talk.
    pub report: Report,
    /// Where to show progress.
    pub progress: Arc<Progress>,
    /// When the command began.
    pub now: Timestamp,
}

impl Context {
    /// Opens the store and removes what a killed restore may have left in the workspace.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub async fn open(settings: Settings, run: Option<RunContext>, report: Report) -> Result<Self> {
        // Before anything is hashed: a pattern such as `**` would take the remains for inputs.
        stage::tidy(&settings.workspace);
        let store = store::open(&settings.store, &settings.s3).await?;
        let access = scope::access(run.as_ref(), &settings.trusted_refs);
        report.detail(&format!("store {}, scope {}", store.describe(), access.own));
        let progress = Arc::new(report.progress());
        Ok(Self { settings, run, access, store, report, progress, now: Timestamp::now() })
    }

    /// Returns the short name of the ref whose head this run reads and moves.
    pub fn ref_name(&self) -> &str {
        self.run.as_ref().map_or(LOCAL_REF, RunContext::ref_name)
    }

    /// Returns the run's number, 0 outside of GitHub Actions.
    pub fn run_id(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.run_id)
    }

    /// Reads and hashes the inputs, off the threads that serve the network.
    ///
    /// # Errors
    /// See [`fingerprint::observe`].
    pub async fn observe_inputs(&self) -> Result<InputsDocument> {
        let (settings, progress) = (self.settings.clone(), self.progress.clone());
        let observed = tokio::task::spawn_blocking(move || {
            fingerprint::observe(&settings.workspace, &settings.sources, settings.when_empty, &progress)
        });
        let (document, warnings) =
            observed.await.map_err(|error| crate::Error::failed("hashing was interrupted").caused_by(error))??;
        for warning in warnings {
            self.report.warn(&warning);
        }
        Ok(document)
    }
}

/// Returns 128 random bits in hex.
fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}
