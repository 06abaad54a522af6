//! The heads that a run reads and moves. A head names the latest model of a ref.

use std::collections::HashSet;
use std::sync::Arc;

use super::Context;
use crate::catalog::{Earlier, Mover};
use crate::decide::head::is_impossible;
use crate::decide::scope::{self, LOCAL_REF};
use crate::error::{Error, Result};
use crate::format::{BlobId, Head, HeadName, ManifestId, Pointer, Scope};
use crate::settings::Target;
use crate::store::Location;
use crate::workflow::RunContext;

/// The model that a ref used last, as a save finds it at its beginning.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The blobs of the model. The store probably has them.
    pub blobs: Arc<HashSet<BlobId>>,
    /// The manifest of the model, if this process has read it under its shared name.
    pub manifest: Option<ManifestId>,
    /// The head of the run's own ref; `None` if it was not read.
    pub head: Option<Earlier<Head>>,
}

impl Context {
    /// Moves the ref's head to the model, if this run may write. A head is a convenience, so a
    /// failure is only a warning. `read` is the head as this command has read it.
    pub async fn move_head(&self, pointer: &Pointer, read: Option<Earlier<Head>>) {
        if self.access.read_only.is_some() {
            return;
        }
        let name = self.ref_name();
        let mover = Mover {
            head: self.own_head(),
            git_ref: name.to_owned(),
            run_id: self.run_id(),
            sha: self.run.as_ref().map(|run| run.sha.clone()).unwrap_or_default(),
        };
        match self.catalog.move_head(&mover, pointer, read).await {
            Ok(None) => {}
            Ok(Some((head, key))) if is_impossible(&head, mover.run_id) => {
                self.report.warn(&format!(
                    "the latest model of `{name}` (its head) stays at run {}, but no run has this \
                     number yet; remove `{key}` from the store",
                    head.run_id
                ));
            }
            Ok(Some((head, _))) => self.report.info(&format!(
                "{}: the latest model of `{name}` (its head) stays at the later run {}",
                self.settings.model, head.run_id
            )),
            Err(error) => self
                .report
                .warn_of(&format!("cannot record the latest model of `{name}` (its head)"), &error),
        }
    }

    /// Returns the model that this run saved last, or else the pointer of the first head that leads
    /// to a pointer.
    ///
    /// # Errors
    /// - This run may not read any scope.
    /// - The store or the artifacts of this run cannot be read.
    /// - A head or a pointer is damaged.
    /// - GitHub's API fails when it should name another repository's default branch.
    pub async fn latest_pointer(&self) -> Result<Option<Pointer>> {
        if let Some(pointer) = self.saved_of(None).await? {
            return Ok(Some(pointer));
        }
        match &self.settings.target {
            Target::Latest { git_ref: Some(git_ref) } => {
                self.catalog.latest(&self.heads(), Some(git_ref), &self.access.reads).await
            }
            _ => self.latest_of(&self.heads()).await,
        }
    }

    /// Returns the latest trusted model of the same name; `None` if there is none, or if this run
    /// may not read it.
    ///
    /// # Errors
    /// - The store cannot be read.
    /// - A head or a pointer is damaged.
    pub async fn latest_trusted(&self) -> Result<Option<Pointer>> {
        let mut heads = vec![self.own_head(), (Scope::Trusted, HeadName::Default)];
        heads.retain(|(scope, _)| *scope == Scope::Trusted);
        self.latest_of(&heads).await
    }

    /// Returns the pointer of the first of these heads that leads to one, or else of a head of an
    /// earlier version.
    async fn latest_of(&self, heads: &[(Scope, HeadName)]) -> Result<Option<Pointer>> {
        let reads = &self.access.reads;
        match self.catalog.latest(heads, None, reads).await? {
            Some(pointer) => Ok(Some(pointer)),
            None => self.catalog.latest(&self.older_heads().await?, None, reads).await,
        }
    }

    /// Returns the model that the ref used last, as far as it helps a save. No failure matters.
    pub async fn known(&self) -> Known {
        let mut known = Known::default();
        // A directory refuses a name that is taken before it reads a byte, so nothing is gained.
        if matches!(self.settings.store, Location::Directory(_)) {
            return known;
        }
        let own = self.own_head();
        for head in self.heads() {
            let Ok(read) = self.catalog.head(&head.0, &head.1).await else { return known };
            let manifest = read.as_ref().map(|(found, _)| found.manifest);
            if head == own {
                known.head = Some(Earlier::now(read));
            }
            let Some(digest) = manifest else { continue };
            if let Some(manifest) = self.catalog.glance(&digest).await {
                let parts = manifest.files.iter().flat_map(|file| &file.parts);
                known.blobs = Arc::new(parts.map(|part| part.blob).collect());
                known.manifest = Some(digest);
            }
            break;
        }
        known
    }

    /// Names the refs whose latest model this command means, for a message.
    pub fn refs_meant(&self) -> String {
        if let Target::Latest { git_ref: Some(name) } = &self.settings.target {
            return format!("`{name}`");
        }
        if let Some(repository) = &self.settings.foreign {
            return format!("the default branch of `{repository}`");
        }
        let default = self.run.as_ref().and_then(|run| run.default_branch.as_ref());
        let mut told: Vec<String> = Vec::new();
        for (_, name) in self.heads() {
            let name = match (name, default) {
                (HeadName::Ref(name), _) => format!("`{name}`"),
                (HeadName::Default, Some(name)) => format!("`{name}`"),
                (HeadName::Default, None) => "the default branch".to_owned(),
            };
            if !told.contains(&name) {
                told.push(name);
            }
        }
        told.join(" or ")
    }

    fn own_head(&self) -> (Scope, HeadName) {
        let own = self.access.own.clone();
        let name = scope::own_head(self.run.as_ref(), &own);
        (own, name)
    }

    /// Returns the heads that may name the latest model, in order.
    fn heads(&self) -> Vec<(Scope, HeadName)> {
        let default = (Scope::Trusted, HeadName::Default);
        let mut heads = match &self.settings.target {
            Target::Latest { git_ref: Some(name) } => {
                let named = |scope: &Scope| (scope.clone(), HeadName::Ref(name.clone()));
                let mut heads: Vec<_> = self.access.reads.iter().map(named).collect();
                // The ref may be the default branch, whose head replaced the head of its name.
                let trusted = heads.iter().position(|(scope, _)| *scope == Scope::Trusted);
                heads.insert(trusted.unwrap_or(heads.len()), default);
                heads
            }
            _ if self.settings.foreign.is_some() => vec![default],
            _ => vec![self.own_head(), default],
        };
        heads.retain(|(scope, _)| self.access.reads.contains(scope));
        heads.dedup();
        heads
    }

    /// Returns the heads of the default branch by its name, as earlier versions wrote them.
    async fn older_heads(&self) -> Result<Vec<(Scope, HeadName)>> {
        if !self.access.reads.contains(&Scope::Trusted) {
            return Ok(Vec::new());
        }
        let foreign = self.settings.foreign.as_deref();
        let default = match foreign {
            Some(repository) => self.default_branch_of(repository).await?,
            None => self.run.as_ref().and_then(|run| run.default_branch.clone()),
        };
        // A namespace does not name its repository or that repository's default branch. So a
        // command that only reads a foreign namespace tries `main` and `master`, too.
        let namespace = self.settings.namespace.to_string();
        let is_own = self.run.as_ref().is_some_and(|run| run.is_of(&namespace));
        let is_known = match foreign {
            Some(_) => default.is_some(),
            None => is_own || !self.verb.only_reads(),
        };
        let usual = if is_known { &[][..] } else { &["main", "master"][..] };
        let names = default.into_iter().chain(usual.iter().map(|name| (*name).to_owned()));
        let mut heads: Vec<_> = names.map(|name| (Scope::Trusted, HeadName::Ref(name))).collect();
        heads.dedup();
        Ok(heads)
    }

    /// Returns the name of another repository's default branch; `None` if it cannot be known.
    async fn default_branch_of(&self, repository: &str) -> Result<Option<String>> {
        let known = match &self.rest {
            // A failure in the API's answer ends the step, so that a fault cannot choose the branch
            // of the newest model.
            Some(rest) => rest.default_branch(repository).await.map_err(|error| {
                error.hint(
                    "set `ref` to the branch of the model; ml-cache then need not know the default \
                     branch",
                )
            })?,
            None => Err(Error::failed("`github-token` is empty")),
        };
        let known = known.inspect_err(|error| {
            self.report.info(&format!(
                "the default branch of `{repository}` is unknown, so this step tries `main` and \
                 `master`; set `ref` to use another branch ({})",
                error.explanation()
            ));
        });
        Ok(known.ok())
    }

    /// Returns the short name of the ref whose head this run reads and moves.
    fn ref_name(&self) -> &str {
        self.run.as_ref().map_or(LOCAL_REF, RunContext::ref_name)
    }

    /// Returns the run's number; 0 outside of GitHub Actions.
    fn run_id(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.run_id)
    }
}
