//! Names that the user may have got wrong: inputs, and refs to trust.

use super::reader::Reader;
use super::{INPUTS, RawInputs, Verb};
use crate::fingerprint::Sources;
use crate::format::Namespace;
use crate::workflow::RunContext;

impl Reader<'_> {
    /// Refuses inputs that no action has. A misspelled input would silently have no effect.
    pub(super) fn unknown(&mut self) {
        let unknown: Vec<String> = unknown(self.raw).map(str::to_owned).collect();
        for given in unknown {
            // An action has its inputs from variables, and every job can set such a variable.
            let variable = given.strip_prefix("INPUT_").map(str::to_lowercase);
            let name = variable.as_deref().unwrap_or(&given);
            let near = nearest(name, self.verb);
            let accepted = near.map_or("the inputs in docs/reference.md".to_owned(), |near| {
                format!("did you mean `{near}`?")
            });
            if variable.is_none() {
                self.fault(name, "", "there is no such input", &accepted);
                continue;
            }
            let (reason, accepted) = match INPUTS.iter().find(|it| it.name == name) {
                Some(known) => (
                    format!("no runner writes its variable as `{given}`"),
                    format!("the variable `INPUT_{}`", known.name.to_uppercase()),
                ),
                None => (format!("there is no such input, but a variable `{given}`"), accepted),
            };
            let accepted =
                format!("{accepted}; if no `with` has it, remove `{given}` from the job's `env`");
            self.fault(name, "", &reason, &accepted);
        }
    }

    /// Returns sentences about inputs that can be used, but may not mean what the user wanted.
    pub(super) fn doubts(
        &self,
        run: Option<&RunContext>,
        namespace: Option<&Namespace>,
        sources: &Sources,
    ) -> Vec<String> {
        let elsewhere =
            self.raw.names().filter(|name| !is_unknown(name)).filter(|name| {
                INPUTS.iter().any(|it| it.name == *name && !it.applies_to(self.verb))
            });
        let mut doubts: Vec<String> = elsewhere
            .map(|name| {
                format!(
                    "the input `{name}` belongs to another action, and this step ignores it; \
                     remove it"
                )
            })
            .collect();
        if self.verb.observes_inputs() && !sources.data.has_includes() {
            doubts.push(
                "`data-paths` names no data, so no change of the data causes a training; name the \
                 data, or a value in `extra-key` that changes with it"
                    .to_owned(),
            );
        }
        if let (Some(run), Some(namespace)) = (run, namespace.map(ToString::to_string))
            && run.is_of(&namespace)
            && run.repository != namespace
        {
            doubts.push(format!(
                "`{namespace}` and this repository, `{}`, differ in their capitals, so the store \
                 keeps their models apart; spell `namespace` as GitHub does",
                run.repository
            ));
        }
        doubts
    }

    /// Reads the refs to trust like the default branch.
    pub(super) fn trusted_refs(&mut self) -> Vec<String> {
        let entries = self.lines("trusted-refs");
        for entry in &entries {
            if let Err(reason) = check_ref(entry) {
                let accepted = "a branch such as `release/1`, or a full ref such as \
                                `refs/tags/v2*`, with `*` only at the end";
                self.fault("trusted-refs", entry, reason, accepted);
            }
        }
        entries
    }
}

/// Returns the names of the inputs that no action has.
pub(super) fn unknown(raw: &RawInputs) -> impl Iterator<Item = &str> {
    raw.names().filter(is_unknown)
}

fn is_unknown(name: &&str) -> bool {
    !INPUTS.iter().any(|input| input.name == *name)
}

/// Checks an entry of `trusted-refs`. An entry that trusts every branch or tag is surely an error.
fn check_ref(entry: &str) -> Result<(), &'static str> {
    let name = entry.strip_suffix('*').unwrap_or(entry);
    if entry.starts_with('!') {
        return Err("a `!` excludes nothing here; list only the refs to trust");
    }
    if name.contains('*') {
        return Err("a `*` may stand only at the end, and only there does it mean any text");
    }
    let name = match ["refs/heads/", "refs/tags/"].iter().find_map(|it| name.strip_prefix(it)) {
        Some(name) => name,
        None if name.starts_with("refs/") => {
            return Err("it names neither branches nor tags, or all of them");
        }
        None => name,
    };
    if name.is_empty() {
        return Err("it trusts every branch, or every tag");
    }
    // Source: git-check-ref-format.
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "?[\\~^:".contains(c);
    let is_odd = name.starts_with(['/', '-', '.'])
        || ["..", "//", "@{"].iter().any(|it| name.contains(it))
        || name.contains(forbidden);
    if is_odd { Err("no branch and no tag can have this name") } else { Ok(()) }
}

/// Returns the input of the verb whose name is nearest to a misspelled name; `None` if all names
/// are far from it.
fn nearest(name: &str, verb: Verb) -> Option<&'static str> {
    let name = name.replace('_', "-");
    let distance = |input: &&super::Input| edits(&name, input.name);
    let near = INPUTS.iter().filter(|input| input.applies_to(verb)).min_by_key(distance)?;
    (distance(&near) <= near.name.len() / 3).then_some(near.name)
}

/// Counts the edits of single characters that make one text of the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut before = row[0];
        row[0] = index + 1;
        for (at, right) in to.iter().enumerate() {
            let replaced = before + usize::from(left != *right);
            before = row[at + 1];
            row[at + 1] = replaced.min(before + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_that_name_too_much_are_refused() {
        for entry in [
            "!release/evil",
            "*",
            "**",
            "refs/*",
            "refs/h*",
            "refs/heads/*",
            "refs/heads/",
            "refs/tags/*",
            "refs/tags",
            "refs/pull/*",
            "refs/pull/7/merge",
            "re*se",
            "*-release",
            "/*",
            "release/**",
            "rel?ase",
            "release/[12]",
            "two words",
            "a..b",
            "-x",
            "refs/heads/-*",
        ] {
            assert!(check_ref(entry).is_err(), "{entry}");
        }
        for entry in [
            "main",
            "release/*",
            "release-*",
            "v1.2",
            "refs/heads/release/1",
            "refs/tags/v2*",
            "references",
            "feature/#7",
            "ünicode",
            "heads/x",
            "re*",
        ] {
            assert_eq!(check_ref(entry), Ok(()), "{entry}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        for (wrong, near) in [
            ("data-path", Some("data-paths")),
            ("data_path", Some("data-paths")),
            ("trainingpaths", Some("training-paths")),
            ("extra-keys", Some("extra-key")),
            ("force-retrian", Some("force-retrain")),
            ("s3-acl", None),
        ] {
            assert_eq!(nearest(wrong, Verb::Auto), near, "{wrong}");
        }
    }
}
