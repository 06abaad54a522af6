//! Links to directories that lead to very many paths.

use std::fs;
use std::os::unix::fs::symlink;

use super::Sandbox;

/// A workspace of packages that each link to all others, and the number of packages.
fn packages(count: usize) -> Sandbox {
    let sandbox = Sandbox::strict();
    for package in 0..count {
        sandbox.write(&format!("data/p{package}/index.js"), "module");
        let modules = sandbox.path(&format!("data/p{package}/node_modules"));
        fs::create_dir(&modules).unwrap();
        for other in (0..count).filter(|other| *other != package) {
            symlink(format!("../../p{other}"), modules.join(format!("p{other}"))).unwrap();
        }
    }
    sandbox
}

#[test]
fn packages_that_link_to_one_another() {
    let sandbox = packages(9);
    let started = std::time::Instant::now();
    let run = sandbox.run("plan", &[]);
    run.fails(
        2,
        &[
            "`data-paths`: links to directories lead to more than 100000 entries",
            "`data/p",
            "hint: exclude the links that are no inputs with `!` lines",
            "raise `max-linked-entries`",
        ],
    );
    assert!(started.elapsed().as_secs() < 300, "the walk ends at the limit");
    assert_eq!(run.stderr.matches("/node_modules/p").count(), 5, "{}", run.stderr);
    let mut arguments = Sandbox::arguments("plan", &[]);
    let data = arguments.iter().position(|argument| argument == "data/**").unwrap();
    arguments[data] = "data/**\n!**/node_modules".to_owned();
    assert_eq!(sandbox.raw(&arguments).json()["reason"], "no-model");
}

#[test]
fn a_few_packages_keep_their_fingerprint_whatever_the_limit() {
    let sandbox = packages(3);
    let plan = |limit: &str| sandbox.run("plan", &["--max-linked-entries", limit]);
    // Each of the 6 links leads to 5 entries, and from there another link leads to 4 or 5 more.
    let usual = sandbox.run("plan", &[]).json();
    let found = (1..200).find(|limit| plan(&limit.to_string()).code == 0).unwrap();
    assert_eq!(plan(&found.to_string()).json()["fingerprint"], usual["fingerprint"]);
    plan(&(found - 1).to_string()).fails(2, &["more than", "hint:"]);
}

#[test]
fn many_links_to_the_same_directory() {
    let sandbox = Sandbox::strict();
    for file in 0..10 {
        sandbox.write(&format!("data/real/{file}"), "x");
    }
    for link in 0..30 {
        symlink("real", sandbox.path(&format!("data/link{link}"))).unwrap();
    }
    assert_eq!(
        sandbox.run("plan", &["--max-linked-entries", "300"]).json()["retrain-needed"],
        true
    );
    sandbox.run("plan", &["--max-linked-entries", "299"]).fails(2, &["`data/link", ": 10"]);
    // A link to a file is a single path.
    for link in 0..30 {
        fs::remove_file(sandbox.path(&format!("data/link{link}"))).unwrap();
        symlink("real/1", sandbox.path(&format!("data/link{link}"))).unwrap();
    }
    assert_eq!(sandbox.run("plan", &["--max-linked-entries", "0"]).json()["retrain-needed"], true);
}

#[test]
fn a_link_that_closes_a_cycle_leads_to_few_entries() {
    let sandbox = Sandbox::strict();
    symlink(".", sandbox.path("data/self")).unwrap();
    symlink("..", sandbox.path("data/up")).unwrap();
    assert_eq!(sandbox.run("plan", &["--max-linked-entries", "0"]).json()["retrain-needed"], true);
}

#[test]
fn a_limit_that_is_no_number() {
    for limit in ["many", "-1", "1.5"] {
        Sandbox::strict()
            .raw(Sandbox::arguments("plan", &[&format!("--max-linked-entries={limit}")]))
            .fails(2, &["input `max-linked-entries`", "it is not a number of entries"]);
    }
}
