//! From patterns to a fingerprint: select files, hash them in parallel, list them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::format::InputsDocument;
use crate::progress::Progress;
use crate::stamp;

pub mod hash;
pub mod lfs;
pub mod patterns;
pub mod walk;

pub use patterns::Patterns;
pub use walk::{Links, Rules, Selection, WhenEmpty};

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

/// The inputs in the workspace.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The inputs, file by file.
    pub document: InputsDocument,
    /// The paths of the inputs that are Git LFS stand-ins, in byte order. The document lists the
    /// content that they name, so it does not show them.
    pub stand_ins: Vec<String>,
    /// The links that lead to inputs.
    pub links: Links,
    /// Warnings for the user, such as an include that selects nothing.
    pub warnings: Vec<String>,
}

/// Files that appear or vanish meanwhile lead to another attempt, up to so many in all.
const ATTEMPTS: u32 = 3;

/// Selects and hashes all files of the sources.
///
/// A file that both sets select is read twice. Memory grows by about 200 bytes a file, whatever the
/// file's size.
///
/// # Errors
/// - Any error of [`walk::select`].
/// - A selected file cannot be read.
/// - The files go on changing.
pub fn observe(
    workspace: &Path,
    sources: &Sources,
    rules: Rules,
    progress: &Progress,
) -> Result<Observed> {
    let select = || -> Result<[Selection; 2]> {
        let [data, training] = select(workspace, sources, rules);
        Ok([data?, training?])
    };
    let mut selected = select()?;
    let mut attempt = 1;
    loop {
        let result = hash_all(workspace, &selected, sources, progress);
        if selected.iter().all(Selection::is_current) {
            return result;
        }
        let again = select()?;
        let differences = selected.iter().zip(&again).map(|(one, other)| one.difference(other));
        let Some(path) = differences.flatten().next() else { return result };
        if attempt == ATTEMPTS {
            return Err(hash::changing(&format!("`{path}` appeared or vanished")));
        }
        (attempt, selected) = (attempt + 1, again);
    }
}

/// Selects the files of both lists, the data first, without reading them.
pub fn select(workspace: &Path, sources: &Sources, rules: Rules) -> [Result<Selection>; 2] {
    let lists = [(&sources.data, "data-paths"), (&sources.training, "training-paths")];
    lists.map(|(patterns, input)| walk::select(workspace, patterns, input, rules))
}

fn hash_all(
    workspace: &Path,
    [data, training]: &[Selection; 2],
    sources: &Sources,
    progress: &Progress,
) -> Result<Observed> {
    let warnings = [data.warnings.as_slice(), &training.warnings].concat();
    let links = Links {
        directories: [data.links.directories.as_slice(), &training.links.directories].concat(),
        files: [data.links.files.as_slice(), &training.links.files].concat(),
    };
    let sizes = data.files.iter().chain(&training.files).map(|(_, size)| size);
    progress.begin("hashing inputs", sizes.sum());
    stamp::settle(data.newest.max(training.newest));
    let data = hash::entries(workspace, &data.files, progress)?;
    let training = hash::entries(workspace, &training.files, progress)?;
    progress.end();
    let mut stand_ins = [data.stand_ins, training.stand_ins].concat();
    stand_ins.sort_unstable();
    stand_ins.dedup();
    let document = InputsDocument {
        data: data.entries,
        training: training.entries,
        extra: sources.extra.clone(),
    };
    Ok(Observed { document, stand_ins, links, warnings })
}
