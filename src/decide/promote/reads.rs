//! Whether a workflow file proves that its runs read no untrusted model through this action.
//!
//! A run that vouches for a promotion must not have restored bytes that somebody else wrote to
//! `pr/<n>`. Such bytes may hold code, and code can forge everything that its job does afterwards.
//! So only the text of the workflow can prove it, never a trace that the run leaves.

use yaml_rust2::{Yaml, YamlLoader};

/// The name of this action's repository, unless the runner says another name.
const NAME: &str = "ml-cache-action";

/// The actions of this repository that read models.
const READERS: &[&str] = &["", "plan", "restore", "resolve"];

/// Checks that each step that reads models says `read-scopes: trusted`, as a literal.
///
/// `action` is the repository of this action, `owner/name`, as the runner names it.
///
/// # Errors
/// Returns the first step that may read more, or that the text does not settle, as a sentence
/// without a full stop.
pub fn only_trusted(workflow: &str, action: Option<&str>) -> Result<(), String> {
    let documents = YamlLoader::load_from_str(workflow)
        .map_err(|error| format!("it is no YAML that can be read: {error}"))?;
    let [document] = documents.as_slice() else {
        return Err("it is not a single YAML document".to_owned());
    };
    let jobs = document["jobs"].as_hash().ok_or("it has no jobs that can be read")?;
    if let Some(line) = program_call(document) {
        return Err(format!(
            "it calls the program in `{line}`, and the text does not settle which models that \
             call reads"
        ));
    }
    for (job, content) in jobs {
        let job = job.as_str().unwrap_or("?");
        if content["uses"].as_str().is_some() {
            // GitHub lists the called workflow, and the caller checks its file as well.
            continue;
        }
        let steps = content["steps"]
            .as_vec()
            .ok_or_else(|| format!("the job `{job}` has no steps that can be read"))?;
        for (index, step) in steps.iter().enumerate() {
            if let Err(why) = check(step, action) {
                return Err(format!("the step {} of the job `{job}` {why}", name(step, index)));
            }
        }
    }
    Ok(())
}

fn check(step: &Yaml, action: Option<&str>) -> Result<(), &'static str> {
    let uses = match &step["uses"] {
        Yaml::BadValue => return Ok(()),
        Yaml::String(uses) => uses.trim(),
        _ => return Err("names no action that can be read"),
    };
    if uses.contains("${{") {
        return Err("names its action by an expression");
    }
    if uses.starts_with('.') {
        return Err("uses an action of the checkout, whose text the workflow does not have");
    }
    if let Some(image) = uses.strip_prefix("docker://") {
        return match image.to_ascii_lowercase().contains("ml-cache") {
            true => Err("runs the program from an image"),
            false => Ok(()),
        };
    }
    let path = uses.split('@').next().unwrap_or_default().trim_end_matches('/');
    let Some(part) = part_of_this(path, action) else { return Ok(()) };
    match part {
        "save" => Ok(()),
        part if READERS.contains(&part) => match step["with"]["read-scopes"].as_str() {
            Some("trusted") => Ok(()),
            Some(text) if text.contains("${{") => {
                Err("sets `read-scopes` by an expression, not by the literal `trusted`")
            }
            _ => Err("does not say `read-scopes: trusted`"),
        },
        _ => Err("uses an unknown part of this action"),
    }
}

/// Returns the part of this action that a path names, such as `plan`; empty for the root action.
/// Returns `None` for another action.
fn part_of_this<'a>(path: &'a str, action: Option<&str>) -> Option<&'a str> {
    let mut parts = path.splitn(3, '/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let known = action.is_some_and(|known| format!("{owner}/{name}").eq_ignore_ascii_case(known));
    (known || name.eq_ignore_ascii_case(NAME)).then(|| parts.next().unwrap_or_default())
}

/// Returns the first line that calls the program, wherever in the file it may stand: a script, an
/// environment variable, or a command that the file hands to a called workflow.
fn program_call(node: &Yaml) -> Option<&str> {
    match node {
        Yaml::String(text) => text.lines().map(str::trim).find(|line| calls_program(line)),
        Yaml::Array(items) => items.iter().find_map(program_call),
        Yaml::Hash(map) => map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), Some("name" | "run-name" | "description")))
            .find_map(|(_, value)| program_call(value)),
        _ => None,
    }
}

/// Returns whether a line of a script names the program as a word of its own with words after it.
fn calls_program(line: &str) -> bool {
    if line.starts_with('#') {
        return false;
    }
    let ends = |c: char| c.is_whitespace() || "\"'`;&|()={}".contains(c);
    line.match_indices("ml-cache").any(|(at, found)| {
        let before = line[..at].chars().next_back();
        let after = line[at + found.len()..].chars().next();
        before.is_none_or(|c| ends(c) || c == '/')
            && after.is_some_and(|c| c.is_whitespace() || "\"'`\\".contains(c))
    })
}

/// Returns the name by which a person finds the step.
fn name(step: &Yaml, index: usize) -> String {
    let named = ["name", "id", "uses"].iter().find_map(|key| step[*key].as_str());
    named.map_or_else(|| format!("{}", index + 1), |name| format!("`{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTION: Option<&str> = Some("acme/model-cache");

    fn workflow(step: &str) -> String {
        format!("on: push\njobs:\n  train:\n    runs-on: ubuntu-latest\n    steps:\n      {step}\n")
    }

    #[test]
    fn steps_that_read_only_trusted_models_prove_it() {
        for step in [
            "- uses: actions/checkout@v7",
            "- run: python src/train.py",
            "- {run: 'echo ml-cache-fraud', env: {STORE: s3://bucket/ml-cache}}",
            "- {run: \"# ml-cache restore\\ntrue\", name: 'see ml-cache restore'}",
            "- {uses: org/ml-cache-action@v1, with: {read-scopes: trusted}}",
            "- {uses: 'org/ml-cache-action/plan@v1', with: {read-scopes: \"trusted\"}}",
            "- {uses: acme/model-cache/restore@0123, with: {read-scopes: trusted, model: m}}",
            "- {uses: ACME/Model-Cache/resolve@v1, with: {read-scopes: trusted}}",
            "- {uses: org/ml-cache-action/save@v1, with: {model: m}}",
            "- uses: docker://alpine:3",
        ] {
            assert_eq!(only_trusted(&workflow(step), ACTION), Ok(()), "{step}");
        }
        let calls =
            "jobs: {train: {uses: ./.github/workflows/other.yml, with: {read-scopes: own}}}";
        assert_eq!(only_trusted(calls, ACTION), Ok(()));
    }

    #[test]
    fn a_step_that_may_read_more_is_named() {
        let trusted = "does not say `read-scopes: trusted`";
        for (step, why) in [
            ("- {name: Fetch, uses: org/ml-cache-action/restore@v1}", trusted),
            ("- {name: Fetch, uses: org/ml-cache-action@v1, with: {read-scopes: own}}", trusted),
            ("- {name: Fetch, uses: mirror/ml-cache-action/plan@v1, with: {model: m}}", trusted),
            ("- {name: Fetch, uses: acme/model-cache/resolve@v1}", trusted),
            ("- {id: Fetch, uses: Org/ML-Cache-Action/restore@v1}", trusted),
            (
                "- {name: Fetch, uses: o/ml-cache-action@v1, with: {read-scopes: '${{ vars.X }}'}}",
                "by an expression",
            ),
            ("- {name: Fetch, uses: org/ml-cache-action/gc@v1}", "unknown part"),
            ("- {name: Fetch, uses: ./.github/actions/setup}", "action of the checkout"),
            ("- {name: Fetch, uses: 'docker://ghcr.io/org/ml-cache-action:1'}", "from an image"),
            ("- {name: Fetch, uses: [org/ml-cache-action@v1]}", "no action that can be read"),
        ] {
            let told = only_trusted(&workflow(step), ACTION).unwrap_err();
            assert!(told.contains(why) && told.contains("`Fetch` of the job `train`"), "{told}");
        }
    }

    #[test]
    fn a_call_of_the_program_ends_the_proof_wherever_it_is() {
        for step in [
            "- run: ml-cache restore --model m",
            "- run: \"set -e\\n./ml-cache \\\\\\n restore\"",
            "- run: \"$(ml-cache resolve)\"",
            "- {run: 'bash -c \"$COMMAND\"', env: {COMMAND: /usr/local/bin/ml-cache plan}}",
            "- {run: x, shell: 'ml-cache run -- sh {0}'}",
        ] {
            let told = only_trusted(&workflow(step), ACTION).unwrap_err();
            assert!(told.contains("calls the program"), "{step}: {told}");
        }
        let handed = "jobs: {a: {uses: o/r/.github/workflows/p.yml@v1, with: {c: ml-cache plan}}}";
        assert!(only_trusted(handed, ACTION).is_err());
    }

    #[test]
    fn a_text_that_cannot_be_read_proves_nothing() {
        for text in ["", "jobs: [", "on: push", "jobs: {a: {}}", "jobs: {}\n---\njobs: {}", "a: &b"]
        {
            assert!(only_trusted(text, ACTION).is_err(), "{text}");
        }
        let anchored = "x: &s {uses: org/ml-cache-action@v1}\njobs: {a: {steps: [*s]}}";
        assert!(only_trusted(anchored, ACTION).is_err());
    }
}
