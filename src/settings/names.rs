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
            let near = || nearest(name, self.verb).map(|near| format!("did you mean `{near}`?"));
            let accepted = advice(name).map(str::to_owned).or_else(near);
            let accepted = accepted.unwrap_or("the inputs in docs/reference.md".to_owned());
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

    /// Reads whether the pull request of the run gets a comment. A verb that saves no model ignores
    /// the input, which a variable of the job may set.
    pub(super) fn comment(&mut self) -> bool {
        let is_wanted = self.boolean("comment").unwrap_or(false);
        is_wanted && (self.verb.saves() || self.verb == Verb::Check)
    }

    /// Returns a doubt if the pull request of the run gets no comment, for lack of a token.
    pub(super) fn no_comment(&self, run: Option<&RunContext>, is_wanted: bool) -> Option<String> {
        let request = run?.pull_request.as_ref()?;
        let is_due = is_wanted && request.same_repository;
        (is_due && self.raw.get("github-token").is_none()).then(|| {
            "`comment` needs a `github-token`, so the pull request gets no comment; remove the \
             empty `github-token`, or give it a token with `pull-requests: write`"
                .to_owned()
        })
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

/// Inputs of other actions and tools, and the advice to a user who expects them here.
const EXPECTED: &[(&[&str], &str)] = &[
    (&["aws-region", "s3-region"], "here it is called `region`"),
    (&["fail-on-cache-miss"], "here it is called `fail-on-miss`"),
    (
        &["lookup-only"],
        "it is not needed, because the actions `plan/` and `resolve/` look without fetching",
    ),
    (
        &["restore-keys"],
        "it is not needed, because only a model of exactly these inputs is restored, from the \
         run's own scope or else from the trusted models",
    ),
    (&["path", "paths"], "here it is called `model-path`"),
    (
        &["key", "cache-key", "primary-key"],
        "it is not needed, because the content of `data-paths` and `training-paths` and the \
         values of `extra-key` are the key",
    ),
    (
        &["enablecrossosarchive", "upload-chunk-size"],
        "it is not needed, because every system stores the same blobs",
    ),
    (&["save-always"], "it is not needed, because a job that fails has no model to save"),
    (
        &["bucket", "bucket-name", "s3-bucket", "aws-bucket", "prefix", "s3-prefix"],
        "here it is a part of `store`, as in `s3://bucket/prefix`",
    ),
    (&["endpoint", "s3-endpoint", "aws-endpoint-url"], "here it is called `endpoint-url`"),
    (
        &["role", "role-arn", "aws-role", "aws-role-arn", "aws-role-to-assume"],
        "here it is called `role-to-assume`",
    ),
    (
        &["role-session-name", "role-duration-seconds", "audience"],
        "it is not needed, because the action names and renews the role's session itself",
    ),
    (
        &["aws-access-key-id", "aws-secret-access-key", "aws-session-token"],
        "here it is a variable: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
         AWS_SESSION_TOKEN in `env`",
    ),
    (&["token", "repo-token", "gh-token"], "here it is called `github-token`"),
    (
        &["name", "model-name"],
        "here the model is called by `model`, its artifact by `artifact-name`",
    ),
    (&["retention-days"], "here it is called `artifact-retention-days`"),
    (&["force"], "here it is called `force-retrain`"),
    (
        &["working-directory"],
        "here it is a key of the model in `ml-cache.yml`; the paths of inputs are relative to the \
         workspace",
    ),
    (&["config-file", "configuration"], "here it is called `config`"),
];

/// Returns the advice to a user who expects an input of another action or tool.
pub fn advice(name: &str) -> Option<&'static str> {
    let name = name.replace('_', "-").to_lowercase();
    EXPECTED.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, advice)| *advice)
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
    let inputs = INPUTS.iter().filter(|input| input.applies_to(verb));
    nearest_of(name, inputs.map(|input| input.name))
}

/// Returns the known name that is nearest to a misspelled name; `None` if all are far from it.
pub(super) fn nearest_of<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A long name is near to none, and takes long to compare.
    let name: String = name.chars().take(100).collect();
    let name = name.replace('_', "-").to_lowercase();
    let near = known.map(|known| (edits(&name, known), known));
    Some(near.filter(|(distance, known)| *distance <= known.len().div_ceil(3)).min()?.1)
}

/// Counts the edits that make one text of the other: of single characters, and swaps of neighbours
/// (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (index, left) in from.iter().enumerate() {
        let mut row = vec![index + 1];
        for (at, right) in to.iter().enumerate() {
            let replaced = rows[index][at] + usize::from(left != right);
            let mut least = replaced.min(rows[index][at + 1] + 1).min(row[at] + 1);
            if index > 0 && at > 0 && from[index - 1] == *right && *left == to[at - 1] {
                least = least.min(rows[index - 1][at - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
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
    fn inputs_of_other_actions_are_answered() {
        for (name, wanted) in [
            ("aws-region", "`region`"),
            ("AWS_REGION", "`region`"),
            ("fail-on-cache-miss", "`fail-on-miss`"),
            ("lookup-only", "`plan/` and `resolve/`"),
            ("restore-keys", "not needed, because"),
            ("path", "`model-path`"),
            ("key", "`extra-key`"),
            ("enableCrossOsArchive", "not needed, because"),
        ] {
            assert!(advice(name).unwrap().contains(wanted), "{name}");
        }
        for (names, advice) in EXPECTED {
            let is_input = |name: &&str| INPUTS.iter().any(|input| input.name == *name);
            assert!(!names.iter().any(is_input), "{names:?}");
            assert!(advice.starts_with("here ") || advice.contains("is not needed, because"));
            // A name in code letters must exist.
            let inputs: Vec<&str> = advice.split('`').skip(1).step_by(2).collect();
            let is_known = |name: &&str| {
                INPUTS.iter().any(|input| input.name == *name) || name.contains(['/', '.', '_'])
            };
            let unknown: Vec<&&str> =
                inputs.iter().filter(|name| !is_known(name) && **name != "env").collect();
            assert!(unknown.is_empty(), "{unknown:?}");
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
            ("stroe", Some("store")),
            ("maxAge", Some("max-age")),
            ("s3-acl", None),
        ] {
            assert_eq!(nearest(wrong, Verb::Auto), near, "{wrong}");
        }
    }
}
