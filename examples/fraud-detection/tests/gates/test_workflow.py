"""The rules of the workflow that a run on one machine cannot show.

There are no roles, no environments with reviewers, no queues, no cancelled runs, no cluster and no
registry of images. Where a run can show a rule, the end-to-end case `pipeline` does.
"""

import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from example import EXAMPLE

WORKFLOWS = Path(EXAMPLE / ".github/workflows")
PIPELINE, DEPLOY = (
    yaml.safe_load((WORKFLOWS / name).read_text()) for name in ("ml-pipeline.yml", "deploy.yml")
)
# The job `deploy` calls the other workflow, and has no steps.
CALL = PIPELINE["jobs"]["deploy"]
JOBS = {
    name: job
    for workflow in (PIPELINE, DEPLOY)
    for name, job in workflow["jobs"].items()
    if job is not CALL
}
DEPLOYING = ["deploy-staging", "deploy-production"]
INSTALLED = [
    "pip install --require-hashes -r requirements-serving.txt -r requirements-test.txt",
    "pip install --require-hashes -r requirements.txt -r requirements-tracking.txt",
]

OWN_ROLE = (
    "${{{{ format({}.outputs.trusted == 'true' && '{{0}}' || '{{1}}', "
    "vars.ML_CACHE_TRUSTED_ROLE, vars.ML_CACHE_UNTRUSTED_ROLE) }}}}"
)


def steps(job: str, action: str = "") -> list[dict[str, Any]]:
    """Returns the steps of a job, or those that use a part of the action."""
    return [
        step for step in JOBS[job]["steps"] if not action or f"/{action}@" in step.get("uses", "")
    ]


def commands(job: str) -> list[str]:
    """Returns what a job does: the names of its steps, or what they run where they have none."""
    named = [step.get("name") or step.get("run") for step in JOBS[job]["steps"]]
    return [name for name in named if name]


def test_nothing_begins_before_what_it_needs() -> None:
    assert {name: job.get("needs") for name, job in PIPELINE["jobs"].items()} == {
        "lint-and-test": None,
        "data-validation": None,
        "plan": "lint-and-test",
        "train-model": ["plan", "data-validation"],
        "build-image": "plan",
        "deploy": ["plan", "train-model", "build-image"],
    }
    assert {name: job.get("needs") for name, job in DEPLOY["jobs"].items()} == {
        "deploy-staging": None,
        "compare": "deploy-staging",
        "review": "compare",
        "deploy-production": ["compare", "review"],
    }


def test_a_deployment_is_called_by_the_pipeline_alone_and_gets_what_it_needs() -> None:
    # YAML takes `on` for a boolean.
    assert list(DEPLOY[True]) == ["workflow_call"]
    assert CALL["uses"] == "./.github/workflows/deploy.yml"
    # Without it, the secrets of the environments are empty.
    assert CALL["secrets"] == "inherit"
    assert CALL["with"] == {
        "pointer": "${{ needs.train-model.outputs.pointer || needs.plan.outputs.pointer }}",
        "fingerprint": "${{ needs.plan.outputs.fingerprint }}",
        "image": "${{ needs.build-image.outputs.image }}",
        "accept_score_shift": "${{ inputs.accept_score_shift }}",
    }
    assert CALL["with"].keys() == DEPLOY[True]["workflow_call"]["inputs"].keys()
    # GitHub starts no run whose called jobs ask for more than their caller has.
    asked = [job["permissions"] for job in DEPLOY["jobs"].values()]
    assert CALL["permissions"] == {name: level for each in asked for name, level in each.items()}
    assert PIPELINE["permissions"] == DEPLOY["permissions"] == {}


def test_red_data_stops_a_training_and_not_a_server() -> None:
    assert JOBS["train-model"]["if"] == (
        "needs.plan.outputs.retrain-needed != 'false' && needs.plan.outputs.trains == 'true'"
    )
    # Without a status function, a job begins only where all that it needs went well. A training
    # that was kept back leaves nothing to deploy.
    assert " ".join(CALL["if"].split()) == (
        "${{ !cancelled() && needs.plan.outputs.deploys == 'true' "
        "&& needs.plan.result == 'success' "
        "&& (needs.train-model.result == 'success' "
        "|| needs.train-model.result == 'skipped' "
        "&& needs.plan.outputs.retrain-needed == 'false') "
        '&& contains(fromJSON(\'["success", "skipped"]\'), needs.build-image.result) }}'
    )


@pytest.mark.parametrize(
    ("rule", "pull_request", "labeled", "trains"),
    [
        ("always", "7", "false", "true"),
        ("label", "7", "false", "false"),
        ("label", "7", "true", "true"),
        ("never", "7", "true", "false"),
        ("never", "", "false", "true"),
    ],
)
def test_pull_requests_train_only_where_they_may(
    rule: str, pull_request: str, labeled: str, trains: str, tmp_path: Path
) -> None:
    given = {"TRAIN_IN_PULL_REQUESTS": rule, "PULL_REQUEST": pull_request, "LABELED": labeled}
    assert judged(tmp_path, **given)["trains"] == trains
    assert JOBS["plan"]["env"] == {
        "TRAIN_IN_PULL_REQUESTS": "${{ vars.TRAIN_IN_PULL_REQUESTS }}",
    }


def test_pull_requests_train_with_the_label_unless_something_else_is_set(tmp_path: Path) -> None:
    given = {"TRAIN_IN_PULL_REQUESTS": "", "PULL_REQUEST": "7", "LABELED": "true"}
    assert judged(tmp_path, **given)["trains"] == "true"
    with pytest.raises(subprocess.CalledProcessError):
        judged(tmp_path, **given | {"TRAIN_IN_PULL_REQUESTS": "perhaps"})


@pytest.mark.parametrize(
    ("rule", "found", "said"),
    [
        ("", ("false", "true", "true"), "trains nothing and deploys it."),
        ("", ("true", "true", "true"), "trains a model and deploys it."),
        ("", ("", "true", "false"), "trains a model and deploys nothing."),
        ("", ("true", "false", "false"), "has no label `train`, and deploys nothing."),
        ("never", ("true", "false", "false"), "do not train here, and deploys nothing."),
    ],
)
def test_a_run_says_what_it_does(
    rule: str, found: tuple[str, str, str], said: str, tmp_path: Path
) -> None:
    given = dict(zip(("RETRAIN_NEEDED", "TRAINS", "DEPLOYS"), found, strict=True))
    summary = tmp_path / "summary"
    given |= {"TRAIN_IN_PULL_REQUESTS": rule, "GITHUB_STEP_SUMMARY": str(summary)}
    assert run_step("plan", "Say what follows", tmp_path, **given) == ""
    assert summary.read_text().startswith("This run trains ")
    assert summary.read_text().endswith(said + "\n")


def test_a_model_of_a_pull_request_can_be_promoted() -> None:
    (plan,) = steps("plan", "plan")
    assert plan["with"]["promote"] == "merged-pull-request"
    assert (
        JOBS["plan"]["permissions"].items() >= {"actions": "read", "pull-requests": "read"}.items()
    )
    for job in JOBS:
        for step in steps(job):
            assert not step.get("uses", "").startswith("."), "its text is not in the workflow"
            if "ml-cache-action" in step.get("uses", ""):
                assert step["with"]["read-scopes"] == "trusted", (job, step.get("name"))


def test_an_action_has_the_same_commit_everywhere() -> None:
    # scripts/run-act puts stand-ins in place of the commits that ml-pipeline.yml names.
    used = {step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step}
    rollback = yaml.safe_load((WORKFLOWS / "rollback.yml").read_text())["jobs"]["rollback"]
    used |= {step["uses"] for step in rollback["steps"] if "uses" in step}
    assert len(used) == len({name.split("@")[0] for name in used}) == 6


def test_the_checks_are_all_made() -> None:
    assert commands("lint-and-test")[1:] == [
        "ruff check && ruff format --check",
        "mypy",
        "pytest --cov",
    ]
    assert commands("data-validation")[1:] == [
        "Does the data keep to its schema?",
        "Has it drifted from the baseline?",
        "Keep the picture of the drift",
    ]


def test_forks_and_dependabot_end_with_the_checks() -> None:
    assert " ".join(JOBS["plan"]["if"].split()) == (
        "${{ github.event_name != 'pull_request' "
        "|| github.event.pull_request.head.repo.full_name == github.repository "
        "&& github.event.pull_request.user.login != 'dependabot[bot]' }}"
    )


def test_only_the_main_branch_gets_the_trusted_role() -> None:
    for name, job in JOBS.items():
        for step in job["steps"]:
            if "ml-cache-action" in step.get("uses", ""):
                role = OWN_ROLE.format("steps.may" if name == "plan" else "needs.plan")
                if name in (*DEPLOYING, "compare"):
                    role = "${{ vars.ML_CACHE_DEPLOY_ROLE }}"
                assert step["with"]["role-to-assume"] == role, (name, step.get("name"))
    for output in ("trusted", "deploys", "trains"):
        assert JOBS["plan"]["outputs"][output] == f"${{{{ steps.may.outputs.{output} }}}}"


@pytest.mark.parametrize(
    ("event", "ref", "merged_into", "said"),
    [
        ("push", "refs/heads/main", "", ("true", "true")),
        ("schedule", "refs/heads/main", "", ("true", "true")),
        ("workflow_dispatch", "refs/heads/main", "", ("true", "true")),
        ("workflow_dispatch", "refs/heads/Main", "", ("false", "false")),
        ("pull_request_target", "refs/heads/main", "", ("false", "false")),
        ("workflow_run", "refs/heads/main", "", ("false", "false")),
        (
            "merge_group",
            "refs/heads/gh-readonly-queue/main/1",
            "refs/heads/main",
            ("true", "false"),
        ),
    ],
)
def test_only_events_of_insiders_are_trusted(
    event: str, ref: str, merged_into: str, said: tuple[str, str], tmp_path: Path
) -> None:
    found = judged(
        tmp_path,
        GITHUB_EVENT_NAME=event,
        GITHUB_REF=ref,
        GITHUB_REF_NAME=ref.removeprefix("refs/heads/"),
        MERGE_BASE=merged_into,
    )
    assert (found["trusted"], found["deploys"]) == said


def test_a_save_decides_by_the_same_inputs_as_the_plan() -> None:
    (plan,), (save,) = (
        steps("plan", "plan"),
        [step for step in steps("train-model", "save") if step.get("id") == "save"],
    )
    assert plan["with"]["max-age"] == "${{ github.event_name == 'schedule' && '30d' || '' }}"
    for name in ("endpoint-url", "model", "force-retrain", "max-age"):
        assert save["with"][name] == plan["with"][name], name
    (kept,) = [step for step in steps("train-model", "save") if step.get("id") != "save"]
    for name in ("endpoint-url", "fingerprint"):
        assert kept["with"][name] == save["with"][name], name


def test_all_steps_have_the_same_store() -> None:
    for name in ("ML_CACHE_STORE", "AWS_REGION"):
        for workflow in (PIPELINE, DEPLOY):
            assert workflow["env"][name] == f"${{{{ vars.{name} }}}}"
        for job in JOBS.values():
            assert not [each for each in [job, *job["steps"]] if name in each.get("env", {})]
    for job in JOBS:
        for step in steps(job):
            if "ml-cache-action" in step.get("uses", ""):
                assert not {"store", "region"}.intersection(step["with"]), step.get("name")


def test_every_path_stands_in_the_file_alone() -> None:
    models = yaml.safe_load((EXAMPLE / "ml-cache.yml").read_text())["models"]
    found = []
    for name, job in JOBS.items():
        for step in job["steps"]:
            if "ml-cache-action" in step.get("uses", ""):
                assert not {
                    "data-paths",
                    "training-paths",
                    "model-path",
                }.intersection(step["with"]), (name, step.get("name"))
                found.append(step["with"]["model"])
    assert set(found) == set(models)
    assert len(found) == 8


def test_a_gpu_is_asked_for_named_in_the_key_and_never_replaced() -> None:
    with_key = [
        (name, step["with"]["extra-key"])
        for name, job in JOBS.items()
        for step in job["steps"]
        if "extra-key" in step.get("with", {})
    ]
    assert [name for name, _ in with_key] == ["plan"]
    # Empty without a GPU, so that the values of ml-cache.yml count.
    lines = with_key[0][1].splitlines()
    assert all(line.startswith("${{ inputs.gpu && ") for line in lines)
    assert all(line.endswith(" || '' }}") for line in lines)
    training = JOBS["train-model"]["steps"]
    assert [s["run"] for s in training if s.get("if") == "inputs.gpu"] == [
        "scripts/preflight gpu",
        'python src/versions.py --device cuda --expect "$GPU_VERSIONS"',
    ]
    train = next(step for step in training if step.get("id") == "train")
    assert train["env"]["DEVICE"] == "${{ inputs.gpu && 'cuda' || 'cpu' }}"
    assert '--device "$DEVICE"' in train["run"]


def test_the_review_reads_a_comparison_with_what_production_serves() -> None:
    compare = JOBS["compare"]
    assert compare["environment"] == "production"
    assert "concurrency" not in compare, "it only reads"
    champion, challenger = steps("compare", "restore")
    assert champion["with"]["pointer"] == "${{ steps.production.outputs.pointer }}"
    assert champion["with"]["destination"] == "champion"
    assert challenger == steps("deploy-production", "restore")[0]
    command = compare["steps"][-1]["run"]
    assert 'compare_models.py --champion "$CHAMPION" --challenger models' in command
    (canary,) = [s for s in steps("deploy-production") if s.get("id") == "canary"]
    assert canary["env"]["COMPARED_WITH"] == "${{ needs.compare.outputs.champion }}"
    assert '--instead-of "$COMPARED_WITH"' in canary["run"]
    assert '--summary "$GITHUB_STEP_SUMMARY"' in command
    assert "configs/promotion.yaml" in command


def test_a_review_holds_neither_secrets_nor_the_turn_of_others() -> None:
    review = JOBS["review"]
    assert review["environment"] == "production-review"
    assert review["permissions"] == {}
    assert "concurrency" not in review
    assert "secrets." not in str(review)


@pytest.mark.parametrize("job", DEPLOYING)
def test_a_deployment_waits_its_turn(job: str) -> None:
    environment = job.removeprefix("deploy-")
    assert (JOBS[job]["environment"], JOBS[job]["concurrency"]) == (environment, environment)
    assert DEPLOY["env"]["DEPLOY_ORDER"] == "${{ github.run_number }}"


@pytest.mark.parametrize("job", DEPLOYING)
def test_a_deployment_takes_the_model_of_this_run(job: str) -> None:
    (restore,) = steps(job, "restore")
    for name in ("pointer", "fingerprint"):
        assert restore["with"][name] == f"${{{{ inputs.{name} }}}}"
    for output in ("pointer", "fingerprint", "retrain-needed"):
        assert JOBS["plan"]["outputs"][output] == f"${{{{ steps.plan.outputs.{output} }}}}"
    assert JOBS["train-model"]["outputs"]["pointer"] == "${{ steps.save.outputs.pointer }}"
    for step in JOBS[job]["steps"]:
        pointer = step.get("env", {}).get("MODEL_POINTER", "${{ steps.model.outputs.pointer }}")
        assert pointer == "${{ steps.model.outputs.pointer }}", step
        if step.get("name") == "Smoke test":
            assert step["env"]["EXPECTED_MANIFEST"] == "${{ steps.model.outputs.manifest-digest }}"


def test_production_begins_only_after_a_staging_that_went_well() -> None:
    order = ["deploy-staging", "compare", "review", "deploy-production"]
    # A condition of its own, or else a skipped training of the caller could skip it, too.
    assert JOBS["deploy-staging"]["if"] == "${{ !cancelled() }}"
    for before, job in pairwise(order):
        assert JOBS[job]["if"] == f"${{{{ !cancelled() && needs.{before}.result == 'success' }}}}"
    assert commands("deploy-staging") == [
        "Is everything set?",
        *INSTALLED,
        "Restore the model",
        "Test the model",
        "Deploy",
        "Does it answer as the model predicts?",
        "Smoke test",
        "Register as staging",
    ]
    assert commands("deploy-production") == [
        "Is everything set?",
        *INSTALLED,
        "Restore the model",
        "Give the new model a tenth of the requests",
        "Is it as good as the stable one?",
        "Give it half of the requests",
        "Is it as good with half of them?",
        "Give it all requests",
        "Smoke test",
        "Is it as good with all of them?",
        "Go back to the model before",
        "Does production answer as before?",
        "Register as production",
    ]


def test_a_canary_is_watched_for_minutes_in_each_of_its_steps() -> None:
    judged = [step for step in steps("deploy-production") if "judge-canary" in step.get("run", "")]
    assert [step["run"].rpartition(" ")[2] for step in judged] == ["tenth", "half", "all"]
    for step in judged:
        assert step["env"]["CANARY_MINUTES"] == "${{ vars.CANARY_MINUTES || '10' }}"
        assert step["env"]["CANARY_THRESHOLD"] == "${{ vars.CANARY_THRESHOLD || '0.01' }}"
        assert step["env"]["TRAFFIC"] == "${{ vars.TRAFFIC || 'users' }}"
        assert step["env"]["ACCEPT_SCORE_SHIFT"] == "${{ inputs.accept_score_shift }}"
    (promote,) = [s for s in steps("deploy-production") if "deploy promote" in s.get("run", "")]
    assert "--reason" in promote["run"], "an accepted shift stays on record"


def test_a_rollback_needs_a_reason_and_no_review() -> None:
    workflow = yaml.safe_load((WORKFLOWS / "rollback.yml").read_text())
    assert workflow[True]["workflow_dispatch"]["inputs"]["reason"]["required"] is True
    (job,) = workflow["jobs"].values()
    production = JOBS["deploy-production"]
    for name in ("environment", "concurrency", "runs-on"):
        assert job[name] == production[name]
    assert job["permissions"] == {"contents": "read"}
    assert 'scripts/deploy back --to "$TO" --reason' in str(job["steps"])
    assert "scripts/deploy history; } >>" in str(job["steps"])
    for step in job["steps"]:
        has_credentials = "DEPLOY_CREDENTIALS" in step.get("env", {})
        assert has_credentials == ("scripts/deploy" in step.get("run", ""))


def test_a_cancelled_run_is_taken_back_like_one_that_failed() -> None:
    conditions = {
        (job, step.get("name")): step["if"]
        for job in JOBS
        for step in JOBS[job]["steps"]
        if any(
            word in step.get("if", "")
            for word in ("success()", "failure()", "always()", "cancelled()")
        )
    }
    assert conditions == {
        ("data-validation", "Keep the picture of the drift"): "${{ !cancelled() }}",
        ("train-model", "Keep checkpoints of a training that was interrupted"): (
            "${{ !success() && steps.train.outcome != 'skipped' "
            "&& hashFiles('checkpoints/**') != '' }}"
        ),
        ("deploy-production", "Go back to the model before"): (
            "${{ !success() && steps.canary.outcome != 'skipped' }}"
        ),
        ("deploy-production", "Does production answer as before?"): (
            "${{ !success() && steps.rollback.outcome == 'success' "
            "&& steps.rollback.outputs.serves == 'true' }}"
        ),
    }


def test_no_step_may_fail_unseen() -> None:
    tolerated = [
        step["name"] for job in JOBS for step in JOBS[job]["steps"] if step.get("continue-on-error")
    ]
    assert tolerated == ["Keep the picture of the drift"]
    assert not [name for name, job in JOBS.items() if job.get("continue-on-error")]


def run_step(job: str, name: str, directory: Path, **variables: str) -> str:
    """Runs a step's script as the runner would; returns what it left for later steps."""
    (step,) = [step for step in JOBS[job]["steps"] if step.get("name") == name]
    left = directory / "left"
    left.touch()
    subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step["run"]],
        env=os.environ | {"GITHUB_OUTPUT": str(left)} | variables,
        cwd=EXAMPLE,
        check=True,
    )
    return left.read_text()


def judged(directory: Path, **variables: str) -> dict[str, str]:
    """Returns what the plan finds that a run may do: by default, a push to the main branch."""
    push = {
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_REF_NAME": "main",
        "DEFAULT_BRANCH": "main",
        "MERGE_BASE": "",
        "PULL_REQUEST": "",
        "LABELED": "false",
    }
    left = run_step("plan", "What may this run do?", directory, **push | variables)
    return dict(line.split("=", 1) for line in left.splitlines())


def test_the_cluster_s_credentials_are_for_the_steps_that_need_them() -> None:
    for workflow in (PIPELINE, DEPLOY):
        assert "secrets." not in str(workflow["env"])
    for name, job in JOBS.items():
        assert "secrets." not in str(job.get("env")), name
        for step in job["steps"]:
            if step.get("run") == "scripts/preflight deploy":
                # It asks whether the secret is there, and does not get it.
                assert step["env"]["HAS_KUBECONFIG"] == "${{ secrets.KUBECONFIG != '' }}"
                assert step["env"]["ENVIRONMENT"] == (
                    "${{ github.job == 'deploy-staging' && 'staging' || 'production' }}"
                )
            elif "KUBECONFIG" in str(step):
                assert job["environment"] in ("staging", "production")
                assert step["env"]["DEPLOY_CREDENTIALS"] == "${{ secrets.KUBECONFIG }}"
                assert "scripts/deploy " in step["run"]
            else:
                assert "scripts/deploy" not in step.get("run", ""), step


def test_what_is_installed_has_hashes() -> None:
    for job in JOBS.values():
        for step in job["steps"]:
            if "pip install" in step.get("run", ""):
                assert "pip install --require-hashes -r " in step["run"]


def test_the_image_is_deployed_by_the_digest_of_what_was_pushed(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    docker = tools / "docker"
    # Stands for Docker where there is no registry to push to.
    docker.write_text(
        """#!/bin/sh
        printf '%s\\n' "$*" >>"$CALLS"
        case $1 in
          login) cat >>"$CALLS" ;;
          image) [ "$*" = "image inspect --format {{index .RepoDigests 0}} $TAGGED" ] &&
            echo ghcr.io/acme/fraud@sha256:1234 ;;
        esac
        """
    )
    docker.chmod(0o755)
    tagged = "ghcr.io/acme/fraud:abc"
    variables = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "TAGGED": tagged,
        "GITHUB_REPOSITORY": "Acme/Fraud",
        "GITHUB_SHA": "abc",
        "GITHUB_ACTOR": "somebody",
        "TOKEN": "secret",
    }
    assert run_step("build-image", "Build", tmp_path, **variables) == ""
    left = run_step("build-image", "Push", tmp_path, **variables)
    assert left == "image=ghcr.io/acme/fraud@sha256:1234\n"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"build --pull --tag {tagged} .",
        "login ghcr.io --username somebody --password-stdin",
        "secret",
        f"push {tagged}",
        f"image inspect --format {{{{index .RepoDigests 0}}}} {tagged}",
    ]
    assert JOBS["build-image"]["outputs"] == {"image": "${{ steps.push.outputs.image }}"}
    assert JOBS["build-image"]["if"] == (
        "${{ needs.plan.outputs.deploys == 'true' && vars.DEPLOY_TARGET != 'local' }}"
    )
    assert DEPLOY["env"]["IMAGE"] == "${{ inputs.image }}"
