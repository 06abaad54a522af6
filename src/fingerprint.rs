//! From patterns to a fingerprint: select files, hash them in parallel, list them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::format::InputsDocument;
use crate::progress::Progress;

pub mod hash;
pub mod lfs;
pub mod patterns;
pub mod walk;

pub use patterns::Patterns;
pub use walk::{Selection, WhenEmpty};

/// What a fingerprint is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Patterns of the data.
    pub data: Patterns,
    /// Patterns of the training code.
    pub training: Patterns,
    /// Extra keys by name.
    pub extra: BTreeMap<String, String>,
}

/// Reads and hashes everything the sources name.
///
/// A file in both sets is read once for each. Memory grows with the number of files only (about
/// 200 bytes each), never with their sizes.
///
/// # Errors
/// A pattern that selects nothing where that is an error, a file that cannot be read, a link that
/// is broken or leads out of the workspace, a path that is not UTF-8.
pub fn observe(
    workspace: &Path,
    sources: &Sources,
    when_empty: WhenEmpty,
    progress: &Progress,
) -> Result<(InputsDocument, Vec<String>)> {
    let data = walk::select(workspace, &sources.data, "data-paths", when_empty)?;
    let training = walk::select(workspace, &sources.training, "training-paths", when_empty)?;
    let mut warnings = data.warnings;
    warnings.extend(training.warnings);
    let sizes = data.files.iter().chain(&training.files).map(|(_, size)| size);
    progress.begin("hashing inputs", sizes.sum());
    let document = InputsDocument {
        data: hash::entries(workspace, &data.files, progress)?,
        training: hash::entries(workspace, &training.files, progress)?,
        extra: sources.extra.clone(),
    };
    progress.end();
    Ok((document, warnings))
}
