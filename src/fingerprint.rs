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

/// The sources of a fingerprint.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The patterns of `data-paths`.
    pub data: Patterns,
    /// The patterns of `training-paths`.
    pub training: Patterns,
    /// The values of `extra-key`, by name.
    pub extra: BTreeMap<String, String>,
}

/// Selects and hashes all files of the sources. Returns the inputs document and the warnings.
///
/// A file that both sets select is read twice. Memory grows by about 200 bytes a file, whatever the
/// file's size.
///
/// # Errors
/// - Any error of [`walk::select`].
/// - A selected file cannot be read.
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
