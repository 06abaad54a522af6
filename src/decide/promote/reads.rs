//! Whether a workflow file proves that its runs read no untrusted model through this action.
//!
//! A run that vouches for a promotion must not have restored bytes that somebody else wrote to
//! `pr/<n>`. Such bytes may hold code, and code can forge everything that its job does afterwards.
//! So only the text of the workflow can prove it, never a trace that the run leaves.

mod calls;

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use self::calls::{NAME, is_settled, program_call, unsettled_command};

/// The actions of this repository. A save is among them: without `read-scopes: trusted` it may
/// adopt the model of another run.
const PARTS: &[&str] = &["", "plan", "restore", "resolve", "save"];

/// The repositories that decide which actions are this action's.
#[derive(Clone, Copy)]
struct Names<'a> {
    /// The repository of the workflow file, `owner/name`.
    file: &'a str,
    /// The repository of this action, `owner/name`, as the runner names it.
    action: Option<&'a str>,
}

/// Checks that each step that reads or saves models says `read-scopes: trusted`, as a literal.
///
/// `repository` has the workflow file. `action` is the repository of this action, as the runner
/// names it. Both are `owner/name`.
///
/// # Errors
/// Returns the first step that may read more, or that the text does not settle, as a sentence
/// without a full stop.
pub fn only_trusted(workflow: &str, repository: &str, action: Option<&str>) -> Result<(), String> {
    let names = Names { file: repository, action };
    let documents = YamlLoader::load_from_str(workflow)
        .map_err(|error| format!("it is no YAML that can be read: {error}"))?;
    let [document] = documents.as_slice() else {
        return Err("it is not a single YAML document".to_owned());
    };
    if workflow.contains("!!binary") {
        return Err("it has a value in `!!binary`".to_owned());
    }
    if let Some(key) = odd_key(document) {
        return Err(format!("it has a key that is no plain text: `{key}`"));
    }
    let jobs = document["jobs"].as_hash().ok_or("it has no jobs that can be read")?;
    if let Some(line) = program_call(document, action) {
        return Err(format!(
            "it calls the program in `{line}`, and the text does not settle which models that \
             call reads"
        ));
    }
    for (job, content) in jobs {
        let job_name = job.as_str().unwrap_or("?");
        check_job(document, content, names).map_err(|why| format!("the job `{job_name}` {why}"))?;
        if content["uses"].as_str().is_some() {
            // GitHub lists the called workflow, and the caller checks its file as well.
            continue;
        }
        let steps = content["steps"]
            .as_vec()
            .ok_or_else(|| format!("the job `{job_name}` has no steps that can be read"))?;
        for (index, step) in steps.iter().enumerate() {
            let envs = [&step["env"], &content["env"], &document["env"]];
            if let Err(why) = check(step, &envs, names) {
                let step = name(step, index);
                return Err(format!("the step {step} of the job `{job_name}` {why}"));
            }
        }
    }
    Ok(())
}

/// Returns a key that merges other keys into its mapping, or that only the runner can read.
fn odd_key(node: &Yaml) -> Option<String> {
    match node {
        Yaml::Array(items) => items.iter().find_map(odd_key),
        Yaml::Hash(map) => map.iter().find_map(|(key, value)| match key {
            Yaml::String(text) if text == "<<" || text.contains("${{") => Some(text.clone()),
            Yaml::String(_) | Yaml::Integer(_) | Yaml::Real(_) | Yaml::Boolean(_) | Yaml::Null => {
                odd_key(value)
            }
            _ => Some("?".to_owned()),
        }),
        _ => None,
    }
}

/// Checks what a job has beside its steps.
fn check_job(document: &Yaml, job: &Yaml, names: Names<'_>) -> Result<(), &'static str> {
    for place in [document, job] {
        if place["defaults"]["run"]["shell"].as_str().is_some_and(|shell| shell.contains("${{")) {
            return Err("has a shell that an expression names");
        }
    }
    let services = job["services"].as_hash().into_iter().flat_map(Hash::values);
    for place in [&job["container"], &job["services"]].into_iter().chain(services) {
        for image in [place, &place["image"]].into_iter().filter_map(Yaml::as_str) {
            if is_image_of_this(image, names.action) {
                return Err("runs the program from an image");
            }
            if !is_settled(image) {
                return Err("names an image by an expression");
            }
        }
    }
    check_commands(&job["with"])
}

fn check(step: &Yaml, envs: &[&Yaml; 3], names: Names<'_>) -> Result<(), &'static str> {
    let Some(keys) = step.as_hash() else { return Err("is no step that can be read") };
    let value = |key: &str| keys.get(&Yaml::String(key.to_owned()));
    let uses = match (value("uses"), value("run")) {
        (Some(Yaml::String(uses)), None) => uses.trim(),
        (None, Some(Yaml::String(run))) => return check_run(run, &step["shell"], envs),
        (Some(_), None) => return Err("names no action that can be read"),
        _ => return Err("does not have exactly one of `uses` and `run`"),
    };
    if uses.contains("${{") {
        return Err("names its action by an expression");
    }
    let image = uses.get(..9).filter(|start| start.eq_ignore_ascii_case("docker://"));
    if image.is_some() {
        return match is_image_of_this(uses, names.action) {
            true => Err("runs the program from an image"),
            false => Ok(()),
        };
    }
    let own_file = names.action.is_some_and(|action| names.file.eq_ignore_ascii_case(action));
    let part = match uses.strip_prefix("$/") {
        Some(path) if own_file => Some(path.trim_end_matches('/')),
        Some(_) => return Err("uses an action of its repository, whose text is not at hand"),
        None if uses.starts_with('.') => {
            return Err("uses an action of the checkout, whose text the workflow does not have");
        }
        None => part_of_this(uses, names.action)?,
    };
    match part {
        None => check_commands(&step["with"]),
        Some(part) if PARTS.contains(&part) => check_scopes(&step["with"]),
        Some(_) => Err("uses an unknown part of this action"),
    }
}

/// Checks the inputs of a step of this action.
fn check_scopes(with: &Yaml) -> Result<(), &'static str> {
    // The runner ignores case in the names of inputs.
    let is_it = |key: &&Yaml| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(SCOPES));
    let count = with.as_hash().map_or(0, |with| with.keys().filter(is_it).count());
    match with[SCOPES].as_str() {
        Some("trusted") if count == 1 => Ok(()),
        Some(text) if text.contains("${{") => {
            Err("sets `read-scopes` by an expression, not by the literal `trusted`")
        }
        _ => Err("does not say `read-scopes: trusted`"),
    }
}

const SCOPES: &str = "read-scopes";

/// Checks a script.
fn check_run(run: &str, shell: &Yaml, envs: &[&Yaml; 3]) -> Result<(), &'static str> {
    if shell.as_str().is_some_and(|shell| shell.contains("${{")) {
        return Err("has a shell that an expression names");
    }
    match unsettled_command(run, envs) {
        true => Err("runs a command that an expression or a variable names"),
        false => Ok(()),
    }
}

/// Checks the commands that a step or job hands to another action or workflow.
fn check_commands(with: &Yaml) -> Result<(), &'static str> {
    let unsettled = with.as_hash().is_some_and(|with| {
        with.iter().any(|(key, value)| {
            let (key, value) = (key.as_str().unwrap_or_default(), value.as_str());
            calls::is_command_key(key)
                && value.is_some_and(|it| it.trim().starts_with("${{") && !is_settled(it))
        })
    });
    if unsettled { Err("hands on a command that an expression names") } else { Ok(()) }
}

/// Returns whether the name of an image may mean an image with this program.
fn is_image_of_this(image: &str, action: Option<&str>) -> bool {
    let image = image.to_ascii_lowercase();
    image.contains("ml-cache")
        || action.is_some_and(|action| image.contains(&action.to_ascii_lowercase()))
}

/// Returns the part of this action that `owner/name/path@ref` names, such as `plan`; empty for the
/// root action. Returns `None` for another action.
fn part_of_this<'a>(uses: &'a str, action: Option<&str>) -> Result<Option<&'a str>, &'static str> {
    const UNCLEAR: &str = "names no action that can be read";
    let (path, _) = uses.split_once('@').ok_or(UNCLEAR)?;
    let mut parts = path.trim_end_matches('/').splitn(3, '/');
    let (Some(owner), Some(name)) = (parts.next(), parts.next()) else { return Err(UNCLEAR) };
    let is_plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
    };
    if !is_plain(owner) || !is_plain(name) {
        return Err(UNCLEAR);
    }
    let known = action.is_some_and(|known| format!("{owner}/{name}").eq_ignore_ascii_case(known));
    let is_this = known || name.eq_ignore_ascii_case(NAME);
    Ok(is_this.then(|| parts.next().unwrap_or_default()))
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

    fn told(workflow: &str) -> Result<(), String> {
        only_trusted(workflow, "org/repo", ACTION)
    }

    #[test]
    fn steps_that_read_only_trusted_models_prove_it() {
        for step in [
            "- uses: actions/checkout@v7",
            "- run: python src/train.py",
            "- {run: 'echo ml-cache-fraud', env: {STORE: s3://bucket/ml-cache}}",
            "- {run: \"# ml-cache restore\\ntrue # don't ml-cache\", name: 'ml-cache plan'}",
            "- {run: 'A=\"$B\" x; C=$([ \"$B\" = y ])', env: {B: '${{ github.head_ref }}'}}",
            "- run: STORE=/mnt/ml-cache python x.py",
            "- {uses: org/ml-cache-action@v1, with: {read-scopes: trusted}}",
            "- {uses: 'org/ml-cache-action/plan@v1', with: {read-scopes: \"trusted\"}}",
            "- {uses: acme/model-cache/restore@0123, with: {read-scopes: trusted, model: m}}",
            "- {uses: ACME/Model-Cache/resolve@v1, with: {read-scopes: trusted}}",
            "- {uses: org/ml-cache-action/save@v1, with: {model: m, read-scopes: trusted}}",
            "- uses: docker://alpine:3",
            "- {uses: actions/cache@v5, with: {key: 'ml-cache-${{ hashFiles(''x'') }}'}}",
            "- {uses: actions/cache@v5, with: {key: ml-cache, path: ~/.cache/ml-cache}}",
            "- {uses: actions/upload-artifact@v5, with: {name: ml-cache, path: data/ml-cache/}}",
            "- run: rm -rf ~/.cache/ml-cache && du -sh \"$HOME/.cache/ml-cache\"",
            "- {run: python x.py --out \"$OUT\", env: {OUT: '${{ vars.OUT }}'}}",
            "- {run: 'bash -c \"$COMMAND\"', env: {COMMAND: '${{ inputs.train-command }}'}}",
            "- {run: '\"$PYTHON\" x.py', env: {PYTHON: python3.11}}",
            "- run: ${{ runner.temp }}/venv/bin/python train.py --n ${{ inputs.n }}",
            "- {run: echo, if: \"github.repository == 'org/ml-cache-action'\"}",
        ] {
            assert_eq!(told(&workflow(step)), Ok(()), "{step}");
        }
        let calls =
            "jobs: {train: {uses: ./.github/workflows/other.yml, with: {read-scopes: own}}}";
        assert_eq!(told(calls), Ok(()));
        let handed = "jobs: {a: {uses: o/r/.github/workflows/p.yml@v1, with: {store: '${{ vars.S \
                      }}', train-command: python train.py}}}";
        assert_eq!(told(handed), Ok(()));
        let here = workflow("- {uses: $/plan, with: {read-scopes: trusted}}");
        assert_eq!(only_trusted(&here, "Acme/Model-Cache", ACTION), Ok(()));
    }

    #[test]
    fn a_step_that_may_read_more_is_named() {
        let trusted = "does not say `read-scopes: trusted`";
        let readable = "names no action that can be read";
        for (step, why) in [
            ("- {name: Fetch, uses: org/ml-cache-action/restore@v1}", trusted),
            ("- {name: Fetch, uses: org/ml-cache-action/save@v1}", trusted),
            ("- {name: Fetch, uses: org/ml-cache-action@v1, with: {read-scopes: own}}", trusted),
            ("- {name: Fetch, uses: mirror/ml-cache-action/plan@v1, with: {model: m}}", trusted),
            ("- {name: Fetch, uses: acme/model-cache/resolve@v1}", trusted),
            ("- {id: Fetch, uses: Org/ML-Cache-Action/restore@v1}", trusted),
            (
                "- {name: Fetch, uses: o/ml-cache-action@v1, with: {read-scopes: trusted, \
                 Read-Scopes: own}}",
                trusted,
            ),
            (
                "- {name: Fetch, uses: o/ml-cache-action@v1, with: {read-scopes: '${{ vars.X }}'}}",
                "by an expression",
            ),
            ("- {name: Fetch, uses: org/ml-cache-action/gc@v1}", "unknown part"),
            ("- {name: Fetch, uses: org/ml-cache-action/./restore@v1}", "unknown part"),
            ("- {name: Fetch, uses: ./.github/actions/setup}", "action of the checkout"),
            ("- {name: Fetch, uses: $/restore}", "action of its repository"),
            ("- {name: Fetch, uses: $/.github/actions/x}", "action of its repository"),
            ("- {name: Fetch, uses: 'docker://ghcr.io/org/ml-cache-action:1'}", "from an image"),
            ("- {name: Fetch, uses: 'DOCKER://ghcr.io/acme/model-cache:1'}", "from an image"),
            ("- {name: Fetch, uses: [org/ml-cache-action@v1]}", readable),
            ("- {name: Fetch, uses: org//ml-cache-action@v1}", readable),
            ("- {name: Fetch, uses: /restore}", readable),
            ("- {name: Fetch, parallel: [{run: x}]}", "exactly one of"),
            ("- {name: Fetch, run: x, uses: a/b@v1}", "exactly one of"),
            ("- {name: Fetch, run: [x]}", "exactly one of"),
            ("- {name: Fetch, run: '${{ vars.RESTORE }}'}", "an expression or a variable"),
            ("- {name: Fetch, run: \"set -e\\n${{ vars.X }} a\"}", "an expression or a variable"),
            ("- {name: Fetch, run: 'a && ${{ env.X }}'}", "an expression or a variable"),
            ("- {name: Fetch, run: x, shell: '${{ vars.X }} {0}'}", "a shell that an expression"),
            (
                "- {name: Fetch, run: $CMD, env: {CMD: '${{ vars.X }}'}}",
                "an expression or a variable",
            ),
            (
                "- {name: Fetch, run: 'A=1 bash -c \"${CMD}\"', env: {CMD: '${{ inputs.a || \
                 vars.X }}'}}",
                "an expression or a variable",
            ),
            (
                "- {name: Fetch, run: $MLC restore, env: {MLC: /opt/ml-cache}}",
                "an expression or a variable",
            ),
            (
                "- {name: Fetch, run: \"M=/opt/ml-cache\\n$M restore\"}",
                "an expression or a variable",
            ),
            (
                "- {name: Fetch, uses: a/retry@v1, with: {command: '${{ vars.X }}'}}",
                "hands on a command",
            ),
        ] {
            let told = told(&workflow(step)).unwrap_err();
            assert!(told.contains(why) && told.contains("`Fetch` of the job `train`"), "{told}");
        }
        for step in ["- '${{ x }}'", "- [a]", "- "] {
            assert!(told(&workflow(step)).unwrap_err().contains("is no step"), "{step}");
        }
    }

    #[test]
    fn a_call_of_the_program_ends_the_proof_wherever_it_is() {
        for step in [
            "- run: ml-cache restore --model m",
            "- run: ml-cache",
            "- run: \"set -e\\n./ml-cache \\\\\\n restore\"",
            "- run: \"$(ml-cache resolve)\"",
            "- run: ml-cache-restore",
            "- run: ml-cache;true",
            "- run: ml-cache>log",
            "- run: ml-cache|tee",
            "- run: ml-cache${IFS}restore",
            "- run: ml-'cache' restore",
            "- run: /opt/tools/ml-cache",
            "- run: sudo /opt/tools/ml-cache restore",
            "- run: \"#!/usr/local/bin/ml-cache restore\"",
            "- run: \"echo '# x'; ml-cache restore\"",
            "- run: docker run ghcr.io/org/ml-cache-action:0.1.0 restore",
            "- run: docker run ghcr.io/acme/model-cache@sha256:00 restore",
            "- run: docker run ml-cache:dev restore",
            "- {run: 'bash -c \"$COMMAND\"', env: {COMMAND: /usr/local/bin/ml-cache plan}}",
            "- {run: x, env: {MLC: /usr/local/bin/ml-cache}}",
            "- {run: x, env: {name: ml-cache restore}}",
            "- {run: x, shell: 'ml-cache run -- sh {0}'}",
            "- {uses: a/b@v1, with: {args: ml-cache}}",
        ] {
            let told = told(&workflow(step)).unwrap_err();
            assert!(told.contains("calls the program"), "{step}: {told}");
        }
        for text in [
            "jobs: {a: {uses: o/r/.github/workflows/p.yml@v1, with: {c: ml-cache plan}}}",
            "jobs: {a: {uses: o/r/.github/workflows/p.yml@v1, with: {command: '${{ vars.X }}'}}}",
            "on: {workflow_call: {inputs: {c: {default: ml-cache plan}}}}\njobs: {a: {steps: []}}",
            "jobs: {a: {strategy: {matrix: {name: [ml-cache restore]}}, steps: []}}",
            "jobs: {a: {container: 'ghcr.io/org/ml-cache-action:1', steps: []}}",
            "jobs: {a: {container: {image: 'ghcr.io/acme/model-cache:1'}, steps: []}}",
            "jobs: {a: {services: {x: {image: 'ghcr.io/acme/model-cache:1'}}, steps: []}}",
            "jobs: {a: {services: {x: {image: '${{ vars.X }}'}}, steps: []}}",
            "jobs: {a: {defaults: {run: {shell: '${{ vars.X }}'}}, steps: []}}",
        ] {
            assert!(told(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_that_cannot_be_read_proves_nothing() {
        for text in ["", "jobs: [", "on: push", "jobs: {a: {}}", "jobs: {}\n---\njobs: {}", "a: &b"]
        {
            assert!(told(text).is_err(), "{text}");
        }
        let anchored = "x: &s {uses: org/ml-cache-action@v1}\njobs: {a: {steps: [*s]}}";
        assert!(told(anchored).is_err());
        for step in [
            "- <<: {uses: org/ml-cache-action/restore@v1}",
            "- {run: x, <<: {shell: y}}",
            "- uses: !!binary b3JnL21sLWNhY2hlLWFjdGlvbkB2MQ==",
            "- {uses: org/ml-cache-action@v1, with: {read-scopes: trusted, '${{ insert }}': {}}}",
        ] {
            assert!(told(&workflow(step)).is_err(), "{step}");
        }
    }

    /// A model that a pull request trained there can be promoted.
    #[test]
    fn the_workflows_of_this_repository_are_proof() {
        for text in [
            include_str!("../../../.github/workflows/ml-pipeline.yml"),
            include_str!("../../../examples/fraud-detection/.github/workflows/ml-pipeline.yml"),
            include_str!("../../../examples/fraud-detection/.github/workflows/deploy.yml"),
        ] {
            assert_eq!(told(text), Ok(()));
        }
    }
}
