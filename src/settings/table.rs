//! The verbs, and every input with its meaning, its default and the verbs that take it.

/// The task of a command or of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Decide whether to train.
    Plan,
    /// Put a stored model in place.
    Restore,
    /// Keep the model that was trained.
    Save,
    /// Plan, then train or restore, then save.
    Run,
    /// Read a stored model and compare its bytes with their digests.
    Verify,
    /// Find a stored model without fetching it.
    Resolve,
    /// Look for all that would stop a plan and a save.
    Check,
    /// The root action: plan and restore in its main step, save in its post step.
    Auto,
}

impl Verb {
    /// The verbs of the command line, in the order of the help.
    pub const COMMANDS: &[Self] = &[
        Self::Check,
        Self::Plan,
        Self::Restore,
        Self::Save,
        Self::Run,
        Self::Resolve,
        Self::Verify,
    ];

    /// Returns the verb's name in lower case, such as `plan`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Run => "run",
            Self::Verify => "verify",
            Self::Resolve => "resolve",
            Self::Check => "check",
            Self::Auto => "auto",
        }
    }

    /// Returns whether the verb only finds models. It then neither plans a training nor saves.
    pub fn only_reads(self) -> bool {
        FINDERS.contains(&self)
    }

    /// Returns whether the verb decides about a training that has not begun.
    pub fn plans(self) -> bool {
        PLANNERS.contains(&self)
    }

    /// Returns the sentence of the help, in the imperative.
    pub fn about(self) -> &'static str {
        match self {
            Self::Plan => "Decide whether the model must be trained again, and say why",
            Self::Restore => "Put a stored model in place, verified byte for byte",
            Self::Save => "Keep the model that was trained",
            Self::Run => "Plan, then run the training command or restore, then save",
            Self::Verify => "Read a stored model and compare every byte with its digests",
            Self::Resolve => "Find a stored model and print its pointer, without fetching it",
            Self::Check => "Look for all that would stop a plan or a save, and tell it at once",
            Self::Auto => "Plan and restore now, save at the end of the job",
        }
    }

    /// Returns whether the verb needs the inputs of the training. Every other verb hashes them only
    /// if the user names paths.
    pub fn observes_inputs(self) -> bool {
        !matches!(self, Self::Verify | Self::Restore | Self::Resolve)
    }

    /// Returns whether the verb saves. The root action saves in its post step.
    pub fn saves(self) -> bool {
        matches!(self, Self::Save | Self::Run | Self::Auto)
    }
}

/// An input of the action, which is also a flag of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The name in kebab-case.
    pub name: &'static str,
    /// One sentence for `--help`, the action files and docs/reference.md.
    pub help: &'static str,
    /// The value of a missing input; empty if there is none.
    pub default: &'static str,
    /// Whether the value may have several lines.
    pub list: bool,
    /// Whether the value is `true` or `false`.
    pub boolean: bool,
    verbs: &'static [Verb],
}

impl Input {
    /// Returns whether the verb takes this input.
    pub fn applies_to(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Returns the default of this input for the verb.
    pub fn default_for(&self, verb: Verb) -> &'static str {
        match (self.name, verb) {
            // A finder is useless without a model. After a plan, a missing model leads to a
            // training.
            ("fail-on-miss", Verb::Restore | Verb::Verify | Verb::Resolve) => "true",
            _ => self.default,
        }
    }
}

/// The default of `role-to-assume`.
///
/// The runner fills an omitted input from its default. So this word tells an omitted role from a
/// role that is given but empty.
pub const OMITTED: &str = "omitted";

use Verb::{Auto, Check, Plan, Resolve, Restore, Run, Save, Verify};

const ALL: &[Verb] = &[Check, Plan, Restore, Save, Run, Resolve, Verify, Auto];
const FINDERS: &[Verb] = &[Restore, Resolve, Verify];
/// A check takes what a plan or a save takes, so that the same lines serve all three.
const PLANNERS: &[Verb] = &[Check, Plan, Run, Auto];
const DECIDERS: &[Verb] = &[Check, Plan, Save, Run, Auto];
const SAVERS: &[Verb] = &[Check, Save, Run, Auto];
/// A command that finds a model may move the ref's head.
const WRITERS: &[Verb] = &[Check, Plan, Restore, Save, Run, Auto];
const RESTORERS: &[Verb] = &[Restore, Run, Auto];

const fn text(
    name: &'static str,
    default: &'static str,
    verbs: &'static [Verb],
    help: &'static str,
) -> Input {
    Input { name, help, default, list: false, boolean: false, verbs }
}

const fn list(name: &'static str, verbs: &'static [Verb], help: &'static str) -> Input {
    Input { name, help, default: "", list: true, boolean: false, verbs }
}

const fn boolean(
    name: &'static str,
    default: &'static str,
    verbs: &'static [Verb],
    help: &'static str,
) -> Input {
    Input { name, help, default, list: false, boolean: true, verbs }
}

/// Every input, in the order of the documentation.
pub const INPUTS: &[Input] = &[
    text(
        "model",
        "",
        ALL,
        "Name of the model; several models can share a namespace. A configuration file with a \
         single model names it, too.",
    ),
    text(
        "config",
        "",
        ALL,
        "Path of the configuration file below the workspace; by default `ml-cache.yml`, if there \
         is such a file; `none` reads no file.",
    ),
    text(
        "store",
        "",
        ALL,
        "Where models are kept: `s3://bucket/prefix` or `file:///directory`; in a job, the \
         directory must lie below the workspace.",
    ),
    list(
        "data-paths",
        ALL,
        "Patterns of the training data, each on its own line, as in `hashFiles`; `!` excludes.",
    ),
    list(
        "training-paths",
        ALL,
        "Patterns of the training code and its configuration, each on its own line.",
    ),
    list(
        "extra-key",
        ALL,
        "Other values that the model depends on, such as a library version, as lines `name=value`.",
    ),
    list(
        "model-path",
        WRITERS,
        "Files and directories that the training writes, as paths or patterns, each on its own \
         line; a plan checks that they are no inputs, and a restore writes nothing else.",
    ),
    text(
        "destination",
        "",
        RESTORERS,
        "Directory to restore into (in a job, below the workspace); by default the workspace, so \
         that every file returns to its original path.",
    ),
    text(
        "fingerprint",
        "",
        &[Restore, Save, Resolve, Verify],
        "Fingerprint from an earlier `plan`; by default computed from the paths, or, without \
         paths, taken from the ref's latest model.",
    ),
    text(
        "pointer",
        "",
        FINDERS,
        "Pointer to the model: its JSON, the path of a file, or `artifact:NAME` for an artifact of \
         this run, of `run-id` or of `repository`; for `restore` also `refused:SCOPE/DIGEST`, as a \
         refused save prints it.",
    ),
    text(
        "repository",
        "",
        FINDERS,
        "Another repository, as `owner/name`, from which to take trusted models.",
    ),
    text(
        "ref",
        "",
        FINDERS,
        "Branch, or tag as `refs/tags/NAME`, from which to take the latest model; by default the \
         ref of this run, or the default branch of `repository`.",
    ),
    text(
        "run-id",
        "",
        FINDERS,
        "Number of the run, in `repository` or in this repository, that saved the model; needs a \
         `github-token`.",
    ),
    text(
        "github-token",
        "",
        ALL,
        "Token for the GitHub API: `run-id` needs `actions: read`; `promote` also needs `contents: \
         read` and `pull-requests: read`; `comment` needs `pull-requests: write`.",
    ),
    text(
        "artifact-name",
        "",
        ALL,
        "Name of the pointer's artifact, which a save creates and other steps read; by default \
         made from model, attempt and a random suffix.",
    ),
    text(
        "artifact-retention-days",
        "",
        SAVERS,
        "Days to keep the pointer's artifact, 1 to 400; by default the repository's setting.",
    ),
    boolean(
        "force-retrain",
        "false",
        DECIDERS,
        "Train even if nothing changed, and replace the stored model.",
    ),
    text(
        "force-retrain-message",
        "",
        DECIDERS,
        "Text, such as `[retrain]`, that forces a training if the message of the commit that \
         caused the run contains it; off by default.",
    ),
    text(
        "force-retrain-label",
        "",
        DECIDERS,
        "Pull request label that forces a training; off by default.",
    ),
    text(
        "promote",
        "never",
        PLANNERS,
        "`never`, or `merged-pull-request`: a push to the default branch takes over the merged \
         pull request's model of exactly these inputs, if GitHub's API confirms it.",
    ),
    text(
        "read-scopes",
        "own",
        ALL,
        "`own`, or `trusted`: a run of a pull request or branch then uses only trusted models and \
         the models that this run saved. Without `trusted`, `promote` refuses the run's model.",
    ),
    text(
        "max-age",
        "",
        DECIDERS,
        "Train again when the model is older than this duration, such as `7d` or `12h`.",
    ),
    text(
        "metrics",
        "",
        DECIDERS,
        "JSON file of numbers that the training writes, such as `metrics.json`; a save stores them \
         with the model, and shows them beside those of the latest trusted model.",
    ),
    list(
        "min-metrics",
        DECIDERS,
        "Demands on the metrics, each on its own line, such as `auc >= 0.9` or `auc >= trusted - \
         0.005`; a model that breaks one is not stored.",
    ),
    boolean(
        "comment",
        "false",
        SAVERS,
        "Show the model and its metrics in a comment of the run's pull request, which each run \
         updates; needs `pull-requests: write` in the job's `permissions`, and a `github-token`.",
    ),
    text(
        "save-patience",
        "10m",
        SAVERS,
        "How long a save goes on trying while the store does not answer, throttles or fails \
         inside, such as `30m`; `0s` gives up at once.",
    ),
    text("on-error", "fail", PLANNERS, "If the store cannot be read: `fail` or `retrain`."),
    boolean(
        "fail-on-miss",
        "false",
        &[Check, Plan, Restore, Resolve, Verify, Auto],
        "Fail with exit code 3 when there is no model.",
    ),
    boolean(
        "default-excludes",
        "true",
        ALL,
        "Leave out `.git`, `__pycache__`, `*.pyc` and the like.",
    ),
    text(
        "lfs-stand-ins",
        "refuse",
        SAVERS,
        "If an input or a file of the model is a Git LFS pointer file in place of its content: \
         `refuse` to train and to save, or `allow`.",
    ),
    text(
        "if-no-files-found",
        "error",
        ALL,
        "If a pattern selects nothing: `error`, `warn` or `ignore`.",
    ),
    text(
        "lock-timeout",
        "10m",
        ALL,
        "Fail when another process on this machine holds a lock of the store or of the destination \
         for longer than this duration.",
    ),
    text(
        "max-linked-entries",
        "100000",
        ALL,
        "The most files and directories that `data-paths`, or `training-paths`, may reach through \
         links to directories.",
    ),
    text(
        "namespace",
        "",
        ALL,
        "Namespace of the models, as `owner/name`; by default the repository.",
    ),
    list(
        "trusted-refs",
        ALL,
        "Branches or full refs to trust like the default branch, each on its own line; `*` at the \
         end stands for anything.",
    ),
    text(
        "role-to-assume",
        OMITTED,
        ALL,
        "ARN of an AWS role to assume with the job's OIDC token; the job needs `permissions: \
         id-token: write`. If it is given but empty, only keys in the environment count.",
    ),
    text(
        "credentials",
        "auto",
        ALL,
        "`auto`: the role, or without `role-to-assume` the usual AWS sources; `ambient`: these \
         sources even if `role-to-assume` is empty; `none`: unsigned requests, which only read.",
    ),
    text("region", "", ALL, "AWS region of the bucket; by default from the environment."),
    text("endpoint-url", "", ALL, "Base URL of an S3-compatible service."),
    text(
        "sse",
        "",
        WRITERS,
        "Encryption that each written object asks for: `AES256`, `aws:kms` or `aws:kms:dsse`; by \
         default the bucket's own.",
    ),
    text("sse-kms-key-id", "", WRITERS, "Key of AWS KMS for `sse`; by default the account's own."),
    text(
        "force-path-style",
        "",
        ALL,
        "Put the bucket into the path of the URL: `true` or `false`; by default `true` with an \
         `endpoint-url`.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: Vec<&str> = INPUTS.iter().map(|input| input.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), INPUTS.len());
        assert!(
            names
                .iter()
                .all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        );
        assert!(INPUTS.iter().all(|input| input.help.ends_with('.')));
    }
}
