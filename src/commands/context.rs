//! The settings, rights and connections of a command.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::handover::Handover;
use crate::catalog::Catalog;
use crate::decide::force::{self, ForceRules};
use crate::decide::origin::Reader;
use crate::decide::{Access, Policy, scope};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fingerprint::{self, Observed};
use crate::format::Pointer;
use crate::github::artifact::ResultsService;
use crate::github::oidc;
use crate::github::rest::Rest;
use crate::lock::LockWait;
use crate::outcome::{Ending, Outcome};
use crate::progress::Progress;
use crate::report::Report;
use crate::settings::{OnError, Secret, Settings, Verb};
use crate::store::patient::Patient;
use crate::store::{self, Credentials, DynStore};
use crate::transfer::stage;
use crate::workflow::RunContext;

/// Settings, rights and connections of a command.
#[derive(Clone, Debug)]
pub struct Context {
    /// The verb that the command executes.
    pub verb: Verb,
    /// The settings, from the user's inputs.
    pub settings: Settings,
    /// The workflow run; `None` outside of GitHub Actions.
    pub run: Option<RunContext>,
    /// The scopes that this run may read and write.
    pub access: Access,
    /// The user's reasons to train although the inputs did not change.
    pub policy: Policy,
    /// The store, for the blobs of the model.
    pub store: DynStore,
    /// The stored documents of the model.
    pub catalog: Catalog,
    /// The results service, or the reason why this run has no artifacts.
    pub results: std::result::Result<ResultsService, String>,
    /// The client of GitHub's REST API; `None` without a token.
    pub rest: Option<Rest>,
    /// The pointers that this run saved, newest first. The first question about them reads them.
    pub(super) saved_here: OnceCell<Vec<Pointer>>,
    /// The log and its annotations.
    pub report: Report,
    /// The display for the progress of hashing and transfers.
    pub progress: Arc<Progress>,
    /// The time at which the command began. Decisions take it as the present.
    pub now: Timestamp,
}

impl Context {
    /// Returns the rule for locks that other processes hold.
    pub(super) fn lock_wait(&self) -> LockWait {
        lock_wait(&self.settings, self.report)
    }

    /// Opens the store, and removes the stages of killed restores from the workspace.
    ///
    /// A `handover` of the plan says who forced the training. Without a handover, the run itself is
    /// the source.
    ///
    /// # Errors
    /// - There are no credentials, and no other outcome than this failure is possible.
    /// - The store cannot be opened.
    /// - An HTTP client cannot start.
    /// - `github-token` or GITHUB_API_URL is malformed.
    pub async fn open(
        verb: Verb,
        settings: Settings,
        run: Option<RunContext>,
        handover: Option<&Handover>,
        report: Report,
        environment: &Environment,
    ) -> Result<Self> {
        // This comes before any hashing: a pattern such as `**` would take abandoned stages for
        // inputs.
        tidy(&settings, report);
        // After a handover, the step of the plan has told all this.
        if handover.is_none() {
            settings.doubts.iter().for_each(|doubt| report.warn(doubt));
            if let Some(origins) = &settings.origins {
                report.info(&format!("{}: settings: {origins}", settings.model));
            }
        }
        let own = scope::access(run.as_ref(), &settings.trusted_refs, settings.read_scopes);
        let own = with_credentials(&settings, own)?;
        let store = open_store(&settings, report).await?;
        let access = if settings.foreign.is_some() {
            scope::foreign(own)
        } else {
            if let Some(doubt) = run.as_ref().and_then(|run| scope::doubt(run, &own)) {
                report.warn(&doubt);
            }
            own
        };
        let results = ResultsService::from_environment(environment, report.mask())?;
        let rest = match &settings.github_token {
            Some(Secret(token)) => {
                let url = environment.get("GITHUB_API_URL").unwrap_or("https://api.github.com");
                let rest = Rest::new(url, token)?;
                (report.mask())(token);
                Some(rest)
            }
            None => None,
        };
        let force = match handover {
            Some(handover) => handover.forced.clone(),
            None => {
                let message = message(&settings.force, run.as_ref(), rest.as_ref(), report).await;
                force::forced(&settings.force, run.as_ref(), message.as_deref())
            }
        };
        let policy = Policy { force, max_age: settings.max_age };
        report.detail(&format!("store {}, scope {}", store.describe(), access.own));
        let progress = Arc::new(report.progress());
        let catalog = catalog(store.clone(), &settings, run.as_ref());
        Ok(Self {
            verb,
            settings,
            run,
            access,
            policy,
            store,
            catalog,
            results,
            rest,
            saved_here: OnceCell::new(),
            report,
            progress,
            now: Timestamp::now(),
        })
    }

    /// Returns this context with a store that waits while the service fails for a time.
    ///
    /// If this job could not use the stored model, or if the training is forced, the save adopts no
    /// object without a look at its bytes or its checksum.
    #[must_use]
    pub fn for_saving(&self, unusable: bool) -> Self {
        let (report, model) = (self.report, self.settings.model.clone());
        let tell = move |why: &str| report.info(&format!("{model}: {why}"));
        let patience = self.settings.save_patience;
        let store: DynStore = Arc::new(Patient::new(self.store.clone(), patience, Arc::new(tell)));
        let catalog = match unusable || self.policy.force.is_some() {
            true => self.catalog.on(store.clone()).distrusting(),
            false => self.catalog.on(store.clone()),
        };
        Self { store, catalog, ..self.clone() }
    }

    /// Returns an outcome that has an ending and no other facts.
    pub fn outcome(&self, ending: Ending) -> Outcome {
        let Settings { namespace, model, .. } = &self.settings;
        let server_url = self.run.as_ref().map(|run| run.server_url.clone()).unwrap_or_default();
        Outcome { server_url, ..Outcome::new(self.verb.name(), namespace, model, ending) }
    }

    /// Names the source of the credentials in the log, if the command used any.
    pub fn name_credentials(&self) {
        if let Some(source) = self.store.credentials() {
            self.report.info(&format!("{}: credentials: {source}", self.settings.model));
        }
    }

    /// Reads and hashes the inputs, on a thread that does not serve the network.
    ///
    /// # Errors
    /// Any error of [`fingerprint::observe`].
    pub async fn observe_inputs(&self) -> Result<Observed> {
        let (settings, progress) = (self.settings.clone(), self.progress.clone());
        let observed = tokio::task::spawn_blocking(move || {
            fingerprint::observe(&settings.workspace, &settings.sources, settings.walk, &progress)
        });
        let observed = observed.await.map_err(|error| {
            Error::failed("cannot hash the inputs: the task was interrupted").caused_by(error)
        })??;
        for warning in &observed.warnings {
            self.report.warn(warning);
        }
        Ok(observed)
    }
}

/// Returns the documents of the model, as this run reads them.
fn catalog(store: DynStore, settings: &Settings, run: Option<&RunContext>) -> Catalog {
    let reader = run.map(|it| Reader { repository: it.repository.clone(), id: it.repository_id });
    Catalog::new(store, settings.namespace.clone(), settings.model.clone(), reader)
}

/// Narrows the rights to those that the credentials allow: unsigned requests only read.
///
/// # Errors
/// There are no credentials. A run that may only read, or that trains without a store, goes on
/// without them, until it sends a request.
fn with_credentials(settings: &Settings, own: Access) -> Result<Access> {
    match settings.s3.credentials {
        Credentials::Missing(lack)
            if settings.on_error == OnError::Fail && own.read_only.is_none() =>
        {
            Err(lack.error())
        }
        Credentials::Unsigned if own.read_only.is_none() => {
            let why = "`credentials: none` sends unsigned requests, which only read";
            Ok(Access { read_only: Some(why.to_owned()), ..own })
        }
        _ => Ok(own),
    }
}

/// Removes the stages of killed restores. Warns where such a restore has left half a model.
fn tidy(settings: &Settings, report: Report) {
    let Settings { workspace, destination, .. } = settings;
    let elsewhere = Some(destination).filter(|destination| *destination != workspace);
    for doubt in [workspace].into_iter().chain(elsewhere).flat_map(|path| stage::tidy(path)) {
        report.warn(&doubt);
    }
}

fn lock_wait(settings: &Settings, report: Report) -> LockWait {
    LockWait { limit: settings.lock_timeout, tell: report.teller() }
}

async fn open_store(settings: &Settings, report: Report) -> Result<DynStore> {
    let role = match &settings.role {
        Some(role) => {
            let name = format!("the role {} by OIDC", role.name());
            let client = settings.s3.network.client(&role.endpoint())?;
            Some((
                name,
                oidc::credentials(role.clone(), client, store::retry_by_status(), report.mask())?,
            ))
        }
        None => None,
    };
    store::open(&settings.store, &settings.s3, role, lock_wait(settings, report)).await
}

/// Returns the message of the commit that caused the run, if the user lets a message force a
/// training.
///
/// The payload of a pull request does not contain this message, so GitHub's API must say it.
async fn message(
    rules: &ForceRules,
    run: Option<&RunContext>,
    rest: Option<&Rest>,
    report: Report,
) -> Option<String> {
    rules.message.as_ref()?;
    let run = run?;
    let Some(request) = &run.pull_request else { return run.message.clone() };
    let unknown = |error: &Error| {
        report.warn_of(
            "cannot look for `force-retrain-message` in the pull request's last commit",
            error,
        )
    };
    match rest {
        Some(rest) => rest
            .message_of_commit(&run.repository, &request.head_sha)
            .await
            .inspect_err(unknown)
            .ok(),
        None => {
            unknown(&Error::failed("`github-token` is empty"));
            None
        }
    }
}
