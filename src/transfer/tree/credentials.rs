//! Files that are known to hold credentials, and that no training writes as a part of its model.
//!
//! docs/what-is-saved.md has the same list for users.

/// Directories whose files hold credentials.
pub const DIRECTORIES: &[&str] = &[
    ".aws",
    ".azure",
    ".config/containers",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
    ".config/rclone",
    ".gnupg",
    ".kaggle",
    ".kube",
    ".oci",
    ".ssh",
];

/// The ends of files that hold credentials, in whole components.
pub const FILES: &[&str] = &[
    ".boto",
    ".cache/huggingface/stored_tokens",
    ".cache/huggingface/token",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".comet.config",
    ".composer/auth.json",
    ".config/git/credentials",
    ".databrickscfg",
    ".databricks/token-cache.json",
    ".dbt/profiles.yml",
    ".docker/config.json",
    ".dockercfg",
    ".dvc/config.local",
    ".env",
    ".envrc",
    ".gem/credentials",
    ".git-credentials",
    ".htpasswd",
    ".huggingface/token",
    ".ivy2/.credentials",
    ".lightning/credentials.json",
    ".m2/settings.xml",
    ".mc/config.json",
    ".mlflow/credentials",
    ".modal.toml",
    ".my.cnf",
    ".mylogin.cnf",
    ".netrc",
    ".npmrc",
    ".passwd-s3fs",
    ".pgpass",
    ".pulumi/credentials.json",
    ".pypirc",
    ".rclone.conf",
    ".s3cfg",
    ".snowflake/connections.toml",
    ".snowsql/config",
    ".streamlit/secrets.toml",
    ".terraform.d/credentials.tfrc.json",
    ".terraformrc",
    ".vault-token",
    ".yarnrc.yml",
    "_netrc",
    "application_default_credentials.json",
    "clearml.conf",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "id_rsa",
    "kaggle.json",
    "pip.conf",
    "rclone.conf",
];

/// The names of files that hold credentials. A `*` stands for any part of a name.
pub const NAMES: &[&str] = &[
    ".env-*",
    ".env.*",
    ".netrc.*",
    "client_secret*.json",
    "gha-creds-*.json",
    "git-credentials-*.config",
];

/// Templates, which have names like credential files and hold no credentials.
pub const TEMPLATES: &[&str] = &[
    ".env-dist",
    ".env-example",
    ".env-sample",
    ".env-template",
    ".env-tmpl",
    ".env.dist",
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.tmpl",
];

/// Returns whether the path is the path of a known credential file, in any capitals.
///
/// A save asks this of every file. Most paths have no hidden component, which leaves few names and
/// needs no text.
pub fn is_known(path: &str) -> bool {
    if !path.starts_with('.') && !path.contains("/.") {
        return is_known_in_sight(path.rsplit('/').next().unwrap_or_default());
    }
    let path = path.to_ascii_lowercase();
    let has_end = |end: &&str| ends_with(&path, end);
    lies_in_directory(&path)
        || (FILES.iter().any(has_end) || has_name(&path)) && !TEMPLATES.iter().any(has_end)
}

/// Returns whether the name, which is not hidden, is the name of a credential file.
fn is_known_in_sight(name: &str) -> bool {
    let begins = |text: &str, start: &str| {
        text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    let fits = |(before, after): (&str, &str)| {
        name.len() >= before.len() + after.len()
            && begins(name, before)
            && name.get(name.len() - after.len()..).is_some_and(|end| begins(end, after))
    };
    let in_sight = |it: &&&str| !it.starts_with('.');
    FILES.iter().filter(in_sight).any(|file| file.eq_ignore_ascii_case(name))
        || NAMES.iter().filter(in_sight).filter_map(|it| it.split_once('*')).any(fits)
}

/// Returns whether one of the directories is above the path.
fn lies_in_directory(path: &str) -> bool {
    let is_in = |rest: &str, directory: &str| {
        rest.strip_prefix(directory).is_some_and(|below| below.starts_with('/'))
    };
    let starts = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
    starts
        .map(|start| &path[start..])
        .any(|rest| DIRECTORIES.iter().any(|directory| is_in(rest, directory)))
}

/// Returns whether the path ends with these components.
fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|above| above.is_empty() || above.ends_with('/'))
}

/// Returns whether the last component fits one of the names.
fn has_name(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let fits = |(before, after): (&str, &str)| {
        name.len() >= before.len() + after.len()
            && name.starts_with(before)
            && name.ends_with(after)
    };
    NAMES.iter().filter_map(|pattern| pattern.split_once('*')).any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_sight_has_one_component() {
        let in_sight = FILES.iter().chain(NAMES).filter(|it| !it.starts_with('.'));
        assert!(in_sight.clone().count() > 5);
        assert!(in_sight.clone().all(|it| !it.contains('/')), "a path is compared by its name");
        assert!(DIRECTORIES.iter().chain(TEMPLATES).all(|it| it.starts_with('.')));
    }

    #[test]
    fn credential_files_are_known_wherever_they_lie() {
        for path in [
            ".netrc",
            "models/.netrc",
            "a/b/.ENV",
            ".env.production",
            ".aws/credentials",
            "home/.aws/cli/cache/x.json",
            ".git-credentials",
            "gha-creds-0123456789abcdef.json",
            "out/gha-creds-1.json",
            ".config/gcloud/application_default_credentials.json",
            ".docker/config.json",
            ".ssh/id_ed25519",
            "keys/id_rsa",
            ".cache/huggingface/token",
            ".config/git/credentials",
            "x/.netrc.bak",
            ".env-prod",
            ".snowflake/connections.toml",
            "client_secret_1.apps.googleusercontent.com.json",
            "a/.Config/GH/hosts.yml",
            ".aws/.env.example",
            "home/.m2/settings.xml",
        ] {
            assert!(is_known(path), "{path}");
        }
        for path in [
            "models/model.bin",
            "models/env",
            "models/.envoy",
            ".env.example",
            ".env-example",
            "git/credentials",
            "x.env",
            "aws/credentials",
            "my.aws/x",
            "my/.aws.d/x",
            "my.config/gh/x",
            "my.m2/settings.xml",
            ".m2/settings.xml/x",
            "gha-creds-.json.bak",
            ".aws",
            "config.json",
            "docker/config.json",
            "x.docker/config.json",
            "gha-creds-1.json/x",
            "x-gha-creds-1.json",
            "id_rsa.pub",
            "token",
            "tokenizer/token",
            ".cache/huggingface/hub/models--x/blobs/0",
            "certificates/ca.pem",
        ] {
            assert!(!is_known(path), "{path}");
        }
    }
}
