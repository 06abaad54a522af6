//! Credential files below `model-path`: only a user who names them gets them stored.

use std::os::unix::fs::symlink;

use ml_cache::transfer::tree::credentials::{DIRECTORIES, FILES, NAMES, TEMPLATES};

use super::Sandbox;
use crate::support::cli::Run;

/// A workspace after a training, in which earlier steps left credentials.
fn with_credentials(paths: &[&str]) -> Sandbox {
    let sandbox = Sandbox::strict();
    sandbox.write("models/model.bin", "weights");
    paths.iter().for_each(|path| sandbox.write(path, "secret"));
    sandbox
}

fn save(sandbox: &Sandbox, model_path: &str) -> Run {
    let mut arguments = Sandbox::arguments("save", &[]);
    *arguments.last_mut().unwrap() = model_path.to_owned();
    sandbox.raw(&arguments)
}

#[test]
fn credentials_that_a_wildcard_selects_are_never_sent() {
    let paths = [
        "gha-creds-0123456789abcdef.json",
        ".netrc",
        ".git-credentials",
        ".aws/credentials",
        ".aws/sso/cache/token.json",
        "models/.env",
        "models/.Env.production",
    ];
    for model_path in [".", "./", "**", "**/*\n!data\n!src", "*\n.*\n!src/*.py"] {
        let sandbox = with_credentials(&[&paths[..], &[".git/config", ".git/HEAD"]].concat());
        let run = save(&sandbox, model_path);
        let needles =
            paths.map(|path| format!("`{path}` cannot be saved: it is a known credential"));
        run.fails(2, &needles.each_ref().map(String::as_str));
        run.fails(2, &["`model-path`: 7 entries", "exclude it with a `!` line", "its whole path"]);
        assert!(!sandbox.store_dir().exists(), "nothing is sent: {model_path}");
    }
    // A later exclude takes a name back. What selects the file again is a wildcard.
    let sandbox = with_credentials(&["models/.netrc"]);
    save(&sandbox, "models/.netrc\n!models/.netrc\nmodels/*").fails(2, &["known credential file"]);
    assert!(!sandbox.store_dir().exists());
    // A directory selects its content as a wildcard does, also a directory of credentials.
    for (model_path, path) in
        [("models/", "models/.env"), ("models\n.aws", ".aws/credentials"), ("*/*", ".ssh/id_rsa")]
    {
        let sandbox = with_credentials(&[path]);
        save(&sandbox, model_path).fails(2, &[path, "it is a known credential file", "hint:"]);
        assert!(!sandbox.store_dir().exists(), "{model_path}");
    }
}

#[test]
fn a_user_may_name_or_exclude_credentials() {
    for (model_path, files) in [
        ("models/\nmodels/.env", 2),
        ("models/.env\nmodels", 2),
        ("models/\n!**/.env", 1),
        ("**\n!data\n!src\n!**/.env*\n!.aws", 1),
        ("**\n!data\n!src\n!.env\n!.aws\nmodels/.env", 2),
    ] {
        let sandbox = with_credentials(&["models/.env", ".env", ".aws/config"]);
        assert_eq!(save(&sandbox, model_path).json()["model-files"], files, "{model_path}");
    }
}

#[test]
fn files_that_hold_no_credentials_are_saved() {
    let sandbox = with_credentials(&["models/.env.example", "models/config.json", "models/env"]);
    // A link is stored as a link, without the file that it leads to.
    symlink("config.json", sandbox.path("models/.netrc")).unwrap();
    assert_eq!(save(&sandbox, "models/").json()["model-files"], 4);
    assert!(sandbox.objects("v1/blobs").len() == 1);
}

#[test]
fn the_documented_list_is_the_list() {
    let page = std::fs::read_to_string("docs/what-is-saved.md").unwrap();
    let section = page.split("## Credential files").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    let directories: Vec<String> = DIRECTORIES.iter().map(|name| format!("{name}/")).collect();
    let known: Vec<&str> =
        directories.iter().map(String::as_str).chain([FILES, NAMES, TEMPLATES].concat()).collect();
    let mut differing: Vec<&&str> = known.iter().filter(|name| !named.contains(name)).collect();
    differing.extend(named.iter().filter(|name| !known.contains(name)));
    assert!(differing.is_empty(), "{differing:?} stand in one list only");
}
