//! Every rule of the patterns, with paths that they select and paths that they do not.

use super::*;

fn parse(text: &str) -> Patterns {
    Patterns::parse(text, Path::new("/home/runner/work/r")).unwrap()
}

fn check(text: &str, selected: &[&str], others: &[&str]) {
    let patterns = parse(text);
    for path in selected {
        assert!(patterns.selects(&split(path)), "{text:?} must select {path}");
        let components = split(path);
        for length in 0..components.len() {
            assert!(
                patterns.may_select_below(&components[..length]),
                "{text:?} must descend towards {path}"
            );
        }
    }
    for path in others {
        assert!(!patterns.selects(&split(path)), "{text:?} must not select {path}");
    }
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

#[test]
fn wildcards_stay_inside_a_component() {
    check("*.csv", &["a.csv", ".hidden.csv", ".csv"], &["d/a.csv", "a.csvx"]);
    check("d/?.csv", &["d/a.csv"], &["d/ab.csv", "d/.csv"]);
    check("d/**/x", &["d/x", "d/a/x", "d/a/b/x", "d/x/y"], &["x", "d/ax"]);
    check("**", &["a", ".a/b"], &[]);
    check("a**", &["a", "ab", "ab/c"], &["b/a"]);
    check("**/*.py[co]", &["a.pyc", "d/a.pyo"], &["a.py", "a.pyx"]);
}

#[test]
fn a_pattern_takes_everything_below_a_directory() {
    check("data", &["data", "data/a", "data/b/c"], &["data2/a"]);
    check("data/", &["data/a"], &["data"]);
    check("./data", &["data/a"], &[]);
    check("*/sub", &["a/sub/x", "a/sub"], &["sub/x"]);
}

#[test]
fn a_file_is_named_only_without_wildcards() {
    for (text, path, named) in [
        ("models/.env", "models/.env", true),
        ("/home/runner/work/r/models/.env", "models/.env", true),
        ("**\n./models//[.]env", "models/.env", true),
        ("models/.env\n!**", "models/.env", false),
        ("models/.env\n!models/.env\nmodels/*", "models/.env", false),
        ("!models/.env\nmodels/.env", "models/.env", true),
        ("models/.env\n!models/x", "models/.env", true),
        ("models/.env/", "models/.env", false),
        ("models/", "models/.env", false),
        ("models/.env", "models/.env/x", false),
        ("models/.en?", "models/.env", false),
        ("**/.env", ".env", false),
        ("!models/.env", "models/.env", false),
    ] {
        assert_eq!(parse(text).names(&split(path)), named, "{text:?} {path}");
    }
}

#[test]
fn the_last_match_wins() {
    check("data/**\n!data/raw/**\ndata/raw/keep", &["data/a", "data/raw/keep"], &["data/raw/x"]);
    check("!data/a\ndata/**", &["data/a"], &[]);
    check("data/**\n!data/a", &["data/b"], &["data/a"]);
    check("!!data", &["data/x"], &[]);
    check("data\n!!!data/x", &["data/y"], &["data/x"]);
}

#[test]
fn classes_follow_minimatch() {
    check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
    check("[!a-c]x", &["dx"], &["ax"]);
    check("[^a-c]x", &["dx"], &["ax"]);
    check("[a-]x", &["ax", "-x"], &["bx"]);
    check("[*]x", &["*x"], &["ax"]);
    check("a[b", &["a[b"], &["ab"]);
    check(r"a\*b", &["a*b"], &["axb"]);
    check("{a,b}", &["{a,b}"], &["a"]);
    check("+(a)", &["+(a)"], &["a"]);
}

#[test]
fn what_the_engines_disagree_on_is_refused() {
    for text in ["[]", "[]a]", "[!]", "[^]x", "[z-a]", "[[:alpha:]]", r"[\]]", "[.]/x", r"\.\./x"] {
        assert!(Patterns::parse(text, Path::new("/w")).is_err(), "{text}");
    }
}

#[test]
fn white_space_is_that_of_javascript() {
    check("\u{feff}a\u{a0}", &["a"], &[]);
    check("a\u{85}", &["a\u{85}"], &["a"]);
}

#[test]
fn comments_blanks_and_spaces_are_skipped() {
    check("# data\n\n  data/a b  \r\n", &["data/a b"], &["# data"]);
    assert!(!parse("\n#\n").has_includes());
}

#[test]
fn absolute_patterns_must_lie_inside_the_workspace() {
    check("/home/runner/work/r/data/*.csv", &["data/a.csv"], &["a.csv"]);
    check("/home/runner/work/r", &["a/b"], &[]);
    for text in ["/etc/passwd", "/", "~/data", "/home/*/w/r/data"] {
        let faults = Patterns::parse(text, Path::new("/home/runner/work/r")).unwrap_err();
        assert_eq!(faults.len(), 1, "{text}");
    }
}

#[test]
fn every_bad_line_is_named() {
    let faults = Patterns::parse("../x\nok\na/../b\n!\na/./b", Path::new("/w")).unwrap_err();
    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "`../x`: `..` is not allowed",
            "`a/../b`: `..` is not allowed",
            "`!`: it is empty",
            "`a/./b`: `.` is allowed only at the start"
        ]
    );
}

#[test]
fn excluded_directories_are_not_entered() {
    let patterns = parse("**\n!venv").with_default_excludes();
    assert!(!patterns.may_select_below(&["venv"]));
    assert!(!patterns.may_select_below(&["a", ".git"]));
    assert!(patterns.may_select_below(&["a"]));
    let patterns = parse("data/**");
    assert!(!patterns.may_select_below(&["src"]));
    let patterns = parse("!data/raw\ndata/**/keep");
    assert!(patterns.may_select_below(&["data", "raw"]));
}

#[test]
fn a_hostile_pattern_takes_no_exponential_time() {
    let patterns = parse(&format!("{}b", "a*".repeat(40)));
    assert!(!patterns.selects(&[&"a".repeat(4000)]));
}

/// The definition, without regard to time: some beginning of the path matches whole.
fn matches_slowly(segments: &[Segment], path: &[&str], left: usize) -> bool {
    fn whole(segments: &[Segment], path: &[&str]) -> bool {
        match segments.split_first() {
            None => path.is_empty(),
            Some((Segment::Globstar, rest)) => {
                (0..=path.len()).any(|skip| whole(rest, &path[skip..]))
            }
            Some((segment, rest)) => path
                .split_first()
                .is_some_and(|(first, below)| segment.matches(first) && whole(rest, below)),
        }
    }
    (left..=path.len()).any(|left| whole(segments, &path[..path.len() - left]))
}

#[test]
fn globstars_match_as_they_are_defined() {
    const WORDS: [&str; 4] = ["**", "a", "b", "*"];
    let lists = |words: &[&'static str], longest: u32| -> Vec<Vec<&'static str>> {
        let count = words.len();
        let list = |length: u32, number: usize| {
            (0..length).map(|at| words[number / count.pow(at) % count]).collect()
        };
        (0..=longest)
            .flat_map(|length| (0..count.pow(length)).map(move |number| (length, number)))
            .map(|(length, number)| list(length, number))
            .collect()
    };
    let paths = lists(&["a", "b", "c"], 5);
    for words in lists(&WORDS, 4) {
        let segments: Vec<Segment> =
            words.iter().map(|word| Segment::parse(word).unwrap()).collect();
        for path in &paths {
            for left in [0, 1] {
                assert_eq!(
                    match_beginning(&segments, path, left),
                    matches_slowly(&segments, path, left),
                    "{words:?} {path:?} {left}"
                );
            }
        }
    }
}

#[test]
fn many_globstars_on_a_deep_path_take_no_exponential_time() {
    let patterns = parse(&format!("{}b", "**/a/".repeat(20)));
    let path = vec!["a"; 200];
    let started = std::time::Instant::now();
    assert!(!patterns.selects(&path));
    assert!(started.elapsed().as_secs() < 10);
}
