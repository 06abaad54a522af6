//! The keys of the configuration file.
//!
//! The reader of the file, the JSON schema and docs/reference.md are made from these tables.

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text on one line.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A text, or a list of texts.
    List,
    /// A map of names to texts, numbers or booleans, which count as they are written.
    Table,
    /// A map whose keys are [`ROLES`].
    Roles,
    /// A map whose keys are [`MODEL`].
    Model,
    /// A map of names to models.
    Models,
}

/// A key of the file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name.
    pub name: &'static str,
    /// The input that has the same meaning; empty if there is none.
    pub input: &'static str,
    /// The form of the value.
    pub kind: Kind,
    /// The values that the schema accepts, as a regular expression; empty for any text.
    pub pattern: &'static str,
    /// An example of a value for messages; empty if any text may stand here, in quotes if need be.
    pub form: &'static str,
    /// Whether the value chooses credentials, or decides which models are trusted.
    pub trust: bool,
    /// Whether the value is a path or a pattern, relative to the directory of the model.
    pub path: bool,
    /// The meaning, as a sentence.
    pub help: &'static str,
}

const PLAIN: Key = Key {
    name: "",
    input: "",
    kind: Kind::Text,
    pattern: "",
    form: "",
    trust: false,
    path: false,
    help: "",
};

/// The keys of the file itself.
pub const FILE: &[Key] = &[
    Key {
        name: "store",
        input: "store",
        pattern: STORE,
        form: "a text such as `s3://bucket/prefix`",
        trust: true,
        help: "Where models are kept: `s3://bucket/prefix` or `file:///directory`.",
        ..PLAIN
    },
    Key {
        name: "region",
        input: "region",
        pattern: "^[A-Za-z0-9-]+$",
        help: "AWS region of the bucket.",
        ..PLAIN
    },
    Key {
        name: "endpoint-url",
        input: "endpoint-url",
        pattern: r"^https?://[^/\s@?#%]+(/[^\s@?#]*)?$",
        form: "a URL such as `https://minio.example`",
        trust: true,
        help: "Base URL of an S3-compatible service.",
        ..PLAIN
    },
    Key {
        name: "force-path-style",
        input: "force-path-style",
        kind: Kind::Boolean,
        help: "Whether the bucket stands in the path of the URL.",
        ..PLAIN
    },
    Key {
        name: "namespace",
        input: "namespace",
        pattern: r"^(?!\.+/)[^/\x00-\x1f]{1,100}/(?!\.+$)[^/\x00-\x1f]{1,100}$",
        form: "a text such as `owner/name`",
        trust: true,
        help: "Namespace of the models, as `owner/name`.",
        ..PLAIN
    },
    Key {
        name: "trusted-refs",
        input: "trusted-refs",
        kind: Kind::List,
        pattern: REF,
        trust: true,
        help: "Branches or full refs to trust like the default branch; `*` at the end stands for \
               anything.",
        ..PLAIN
    },
    Key {
        name: "roles",
        input: "role-to-assume",
        kind: Kind::Roles,
        trust: true,
        help: "AWS roles; a run in GitHub Actions assumes the role of its scope.",
        ..PLAIN
    },
    Key {
        name: "defaults",
        kind: Kind::Model,
        help: "Keys for every model; a list goes before the model's own list.",
        ..PLAIN
    },
    Key { name: "models", kind: Kind::Models, help: "The models, each under its name.", ..PLAIN },
];

/// The prefix has up to 512 characters between its slashes. No reader of URLs may find an escape in
/// a directory.
const STORE: &str = concat!(
    r"^(?!s3://[^/]+/+[^/].{511,}[^/]/*$)(?!file:.*%[0-9A-Fa-f]{2})",
    r"(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/*(/(?!\.\.?(/|$))[^/?#\x00-\x1f\x7f-\x9f]+)*/*",
    r"|file:///.*)$"
);

const REF: &str = concat!(
    r"^(?!refs/(?!heads/|tags/))(?!refs/(heads|tags)/([-/.*]|$))(?!.*(\.\.|//|@\{))",
    r"[^-/.!\s*?\[\\~^:\x00-\x1f\x7f][^\s*?\[\\~^:\x00-\x1f\x7f]*\*?$"
);

/// The keys of `roles`.
pub const ROLES: &[Key] = &[
    Key {
        name: "trusted",
        pattern: ROLE,
        form: ARN,
        help: "Role of runs whose models are trusted.",
        ..PLAIN
    },
    Key { name: "untrusted", pattern: ROLE, form: ARN, help: "Role of all other runs.", ..PLAIN },
    Key {
        name: "deploy",
        pattern: ROLE,
        form: ARN,
        help: "Role of `restore`, `resolve` and `verify` in runs that read only trusted models; by \
               default the role of the scope.",
        ..PLAIN
    },
];

const ARN: &str = "the ARN of a role";
const ROLE: &str = r"^arn:aws\S*:role/\S*$";

/// The keys of a model, and of `defaults`.
pub const MODEL: &[Key] = &[
    Key {
        name: "data",
        input: "data-paths",
        kind: Kind::List,
        pattern: PATH,
        path: true,
        help: "Patterns of the training data; `!` excludes.",
        ..PLAIN
    },
    Key {
        name: "training",
        input: "training-paths",
        kind: Kind::List,
        pattern: PATH,
        path: true,
        help: "Patterns of the training code and its configuration.",
        ..PLAIN
    },
    Key {
        name: "extra",
        input: "extra-key",
        kind: Kind::Table,
        help: "Other values that the model depends on, such as the version of a library.",
        ..PLAIN
    },
    Key {
        name: "path",
        input: "model-path",
        kind: Kind::List,
        pattern: PATH,
        path: true,
        help: "Files and directories that the training writes, as paths or patterns.",
        ..PLAIN
    },
    Key {
        name: "max-age",
        input: "max-age",
        pattern: AGE,
        form: "a duration such as `30d`",
        help: "Train again when the model is older than this duration, such as `7d` or `12h`.",
        ..PLAIN
    },
    Key {
        name: "metrics",
        input: "metrics",
        pattern: METRICS,
        path: true,
        help: "JSON file of numbers that the training writes; a save stores them with the model.",
        ..PLAIN
    },
    Key {
        name: "min-metrics",
        input: "min-metrics",
        kind: Kind::List,
        pattern: BOUND,
        form: "a text such as `auc >= 0.9`",
        help: "Demands on the metrics, such as `auc >= 0.9` or `auc >= trusted - 0.005`; a model \
               that breaks one is not stored.",
        ..PLAIN
    },
    Key {
        name: "working-directory",
        pattern: r"^(?!/)(?!(.*/)?\.\.(/|$))[^*?\[\]\\!#~][^*?\[\]\\]*$",
        help: "Directory below the workspace to which all paths of the model are relative, and in \
               which `ml-cache run` starts the training.",
        ..PLAIN
    },
];

/// A schema cannot count how many directories `../` may leave.
const PATH: &str =
    r"^(?!(!\s*)*(/|~(/|$)))(?!(!\s*)*$)(?!.*[^/.!\s][^/]*/(.*/)?\.\.(/|$))(?!.*[^/]/\.(/|$)).*$";
/// A schema cannot count the directories here, either.
const METRICS: &str = concat!(
    r"^(\.\.?/)*(?!\.\.?(/|$))[^/*?\[\]\\!#~][^/*?\[\]\\]*",
    r"(/(?!\.\.?(/|$))[^/*?\[\]\\]+)*$"
);
/// A number of metrics, which is the end of the text. Exponents of two digits stay finite.
macro_rules! number {
    () => {
        r"(?=\S{1,32}$)-?(0|[1-9]\d*)(\.\d+)?([eE](\+?0*\d{1,2}|-\d+))?"
    };
}
const BOUND: &str = concat!(
    r"^[^<>\x00-\x1f\x7f-\x9f]{0,127}[^\s<>=!\x00-\x1f\x7f-\x9f]\s*[<>]=?\s*(",
    number!(),
    r"|trusted(\s*[+-]\s*",
    number!(),
    r")?)$"
);
const AGE: &str =
    "^(?=.*[1-9])([0-9]{1,6}w ?)?([0-9]{1,6}d ?)?([0-9]{1,6}h ?)?([0-9]{1,6}m ?)?([0-9]{1,6}s)?$";

/// The values that the schema accepts in a list, as a regular expression.
pub const ITEM: &str = r"^[^\s#]([^\r\n]*\S)?$";
/// The texts that the schema accepts where no key has an expression of its own.
pub const TEXT: &str = r"^\S([^\r\n]*\S)?$";
/// The names that the schema accepts in a table.
pub const NAME: &str = r"^[^\s=]([^=\r\n]*[^\s=])?$";
/// The names that the schema accepts for models.
pub const MODEL_NAME: &str = r"^(?!\.+$)(?=\S)(?!.*\s$)[^/\x00-\x1f]{1,100}$";

/// Returns the key of this name.
pub(super) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::INPUTS;

    #[test]
    fn every_key_says_what_it_means_and_what_it_stands_for() {
        for key in FILE.iter().chain(ROLES).chain(MODEL) {
            assert!(key.help.ends_with('.'), "{}", key.name);
            let input = INPUTS.iter().find(|input| input.name == key.input);
            assert_eq!(input.is_none(), key.input.is_empty(), "{}", key.name);
            if let Some(input) = input {
                let is_several = matches!(key.kind, Kind::List | Kind::Table);
                assert_eq!(input.list, is_several, "{}", key.name);
                assert_eq!(input.name == "force-path-style", key.kind == Kind::Boolean);
            }
        }
    }
}
