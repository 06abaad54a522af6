"""All that is missing is told at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from example import EXAMPLE

GOOD = {
    "ML_CACHE_STORE": "s3://models/cache",
    "AWS_REGION": "eu-central-1",
    "ROLE": "arn:aws:iam::1:role/r",
    "DEPLOY_TARGET": "kubectl",
    "HAS_KUBECONFIG": "true",
    "ENVIRONMENT": "staging",
    "IMAGE": "i@sha256:1",
}


def tools(directory: Path, *names: str, script: str = "exit 0") -> str:
    """Returns a PATH with these programs and what the script itself needs."""
    bare = directory / "bin"
    bare.mkdir()
    for name in ("bash", "dirname", "sed", "grep"):
        (bare / name).symlink_to(
            f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}"
        )
    for name in names:
        (bare / name).write_text(f"#!/bin/bash\n{script}\n")
        (bare / name).chmod(0o755)
    return str(bare)


def preflight(what: str, **environment: str) -> tuple[int, str]:
    ended = subprocess.run(
        ["/bin/bash", EXAMPLE / "scripts" / "preflight", what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_what_is_complete_passes(tmp_path: Path) -> None:
    path = tools(tmp_path, "kubectl", "curl")
    assert preflight("deploy", PATH=path, **GOOD) == (0, "")
    assert preflight("store", PATH=path, **GOOD) == (0, "")
    cluster = {"DEPLOY_TARGET": "kubectl", "HAS_KUBECONFIG": "true"}
    assert preflight("target", PATH=path, **cluster) == (0, "")
    keys = {name: value for name, value in GOOD.items() if name != "ROLE"} | {"HAS_KEYS": "true"}
    assert preflight("store", PATH=path, **keys) == (0, "")


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    given = {"DEPLOY_TARGET": "kubectl", "HAS_KUBECONFIG": "false", "ENVIRONMENT": "production"}
    given |= {"TRAFFIC": "some", "CANARY_MINUTES": "ten", "TRAIN_IN_PULL_REQUESTS": "perhaps"}
    given["CANARY_THRESHOLD"] = "1 %"
    code, text = preflight(
        "deploy", PATH=tools(tmp_path), ROLE_NAME="ML_CACHE_DEPLOY_ROLE", **given
    )
    assert code == 1
    for part in (
        "the variable ML_CACHE_STORE is empty",
        "the variable AWS_REGION is empty",
        "the variable ML_CACHE_DEPLOY_ROLE is empty, and there are no keys",
        "TRAIN_IN_PULL_REQUESTS is `perhaps`",
        "TRAFFIC is `some`",
        "CANARY_MINUTES is `ten`",
        "CANARY_THRESHOLD is `1 %`",
        "`curl` is not here",
        "`kubectl` is not here",
        "the secret KUBECONFIG is empty in the environment production",
        "gh secret set KUBECONFIG --env production <FILE",
        "there is no serving image",
    ):
        assert part in text
    assert text.count("error:") == text.count("hint:") == 11


# Of a canary's minutes, none is no clock, and three hours outlast its job.
REFUSED = {
    "CANARY_MINUTES": ["0", "0.0", "61", "90", "-1", "1e2", "ten"],
    "CANARY_THRESHOLD": ["0", "0.00", "1", "0.5", "0.9", "-0.1", "1%", ".", "1e-2", "0.00001"],
    "DEPLOY_TARGET": ["local kubectl"],
    "TRAFFIC": ["users replay"],
    "ML_CACHE_STORE": ["s3:///cache", "s3://my bucket/x"],
    "AWS_REGION": [" "],
}
ACCEPTED = {
    "CANARY_MINUTES": ["0.05", "1", "10", "59.5", "60"],
    "CANARY_THRESHOLD": ["0.001", "0.01", ".02", "0.005", "0.1", "0.49"],
    "ML_CACHE_STORE": ["s3://models", "s3://models/", "s3://my.models-2/a/b"],
}


def each(values: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, several in values.items() for value in several]


@pytest.mark.parametrize(("name", "value"), each(REFUSED))
def test_a_value_that_cannot_be_used_is_told(tmp_path: Path, name: str, value: str) -> None:
    path = tools(tmp_path, "kubectl", "curl")
    code, text = preflight("deploy", PATH=path, **GOOD | {name: value})
    assert code == 1
    assert f"{name} is `{value}`" in text


@pytest.mark.parametrize(("name", "value"), each(ACCEPTED))
def test_a_value_that_can_be_used_passes(tmp_path: Path, name: str, value: str) -> None:
    path = tools(tmp_path, "kubectl", "curl")
    assert preflight("deploy", PATH=path, **GOOD | {name: value}) == (0, "")


@pytest.mark.parametrize("what", ["deploy", "target"])
def test_deployments_outlive_a_checkout(tmp_path: Path, what: str) -> None:
    path = tools(tmp_path, "haproxy", "curl")
    job = GOOD | {"GITHUB_ACTIONS": "true", "DEPLOY_TARGET": "local"}
    code, text = preflight(what, PATH=path, DEPLOY_STATE=".deploy", **job)
    assert code == 1
    assert "DEPLOY_STATE is `.deploy`, and DEPLOY_TARGET is local" in text
    assert preflight(what, PATH=path, DEPLOY_STATE="/var/lib/fraud", **job) == (0, "")


@pytest.mark.parametrize(
    ("staging", "production", "message"),
    [
        ("abc", "18090", "STAGING_PORT is `abc`"),
        ("18080", "99999", "PRODUCTION_PORT is `99999`"),
        ("18099", "18099", "STAGING_PORT and PRODUCTION_PORT are both 18099"),
    ],
)
def test_ports_are_told(tmp_path: Path, staging: str, production: str, message: str) -> None:
    path = tools(tmp_path, "haproxy", "curl")
    given = {"PYTHON": sys.executable, "STAGING_PORT": staging, "PRODUCTION_PORT": production}
    code, text = preflight("machine", PATH=path, **given)
    assert code == 1
    assert message in text


def test_what_would_stop_the_deployment_is_told_before_the_training(tmp_path: Path) -> None:
    path = tools(tmp_path)
    wrong = {"DEPLOY_TARGET": "kubctl", "TRAFFIC": "some", "CANARY_MINUTES": "0"}
    wrong["DEPLOY_RUNNER"] = "ubuntu-latest"
    assert preflight("store", PATH=path, **GOOD | wrong) == (0, ""), (
        "a pull request deploys nothing"
    )
    code, text = preflight("store", PATH=path, DEPLOYS="true", **GOOD | wrong)
    assert code == 1
    for part in ("ML_CACHE_DEPLOY_ROLE", "`kubctl`", "`some`", "CANARY_MINUTES is `0`"):
        assert part in text
    assert "DEPLOY_RUNNER is `ubuntu-latest`" in text


@pytest.mark.parametrize("runner", ["", '"ubuntu-latest"', '["self-hosted", "serving"]'])
def test_a_runner_is_json(tmp_path: Path, runner: str) -> None:
    given = GOOD | {"DEPLOYS": "true", "DEPLOY_ROLE": "arn:aws:iam::1:role/d"}
    assert preflight("store", PATH=tools(tmp_path), DEPLOY_RUNNER=runner, **given) == (0, "")


def test_a_workflow_gets_annotations(tmp_path: Path) -> None:
    _, text = preflight("store", PATH=tools(tmp_path), GITHUB_ACTIONS="true", **GOOD | {"ROLE": ""})
    assert text.startswith("::error::the variable ML_CACHE_TRUSTED_ROLE is empty")


def test_a_gpu_is_looked_for(tmp_path: Path) -> None:
    code, text = preflight("gpu", PATH=tools(tmp_path))
    assert code == 1
    assert "this runner has no GPU of NVIDIA" in text
    (tmp_path / "bin/nvidia-smi").symlink_to("/bin/true")
    assert preflight("gpu", PATH=str(tmp_path / "bin")) == (0, "")


def test_a_local_machine_is_looked_at(tmp_path: Path) -> None:
    path = tools(tmp_path)
    code, text = preflight(
        "local", PATH=path, PYTHON="/nowhere/python", ML_CACHE="/nowhere/ml-cache"
    )
    assert code == 1
    # Debian has it where the script also looks without the PATH.
    has_haproxy = Path("/usr/sbin/haproxy").exists()
    assert ("`haproxy` is not here" in text) is not has_haproxy
    for part in (
        "`/nowhere/python` has not all libraries",
        "`/nowhere/python` is no Python 3.11",
        "`/nowhere/ml-cache` (ML_CACHE) is not the program ml-cache",
    ):
        assert part in text
    _, text = preflight("machine", PATH=path, PYTHON=sys.executable, ML_CACHE_STORE="models")
    assert "has not all libraries" not in text
    assert "no Python" not in text
    assert "ML_CACHE_STORE is `models`" in text
    assert "every run trains" in text


@pytest.mark.parametrize("complete", [True, False])
def test_the_settings_on_github_are_asked_for(tmp_path: Path, complete: bool) -> None:
    answers = """
    case "$*" in
      "variable list"*) printf '%s\\n' ML_CACHE_STORE AWS_REGION $ROLES ;;
      "variable get"*) echo kubectl ;;
      "secret list --env"*) echo $SECRET ;;
      "secret list"*) ;;
      *environments/production-review*) printf '%s\\n' branches $REVIEWERS ;;
      *environments/production*) [ -n "$SECRET" ] && echo branches ;;
      *environments/*) echo branches ;;
    esac"""
    path = tools(tmp_path, "gh", script=answers)
    given = {}
    if complete:
        roles = " ".join(f"ML_CACHE_{who}_ROLE" for who in ("TRUSTED", "UNTRUSTED", "DEPLOY"))
        given = {"ROLES": roles, "SECRET": "KUBECONFIG", "REVIEWERS": "required_reviewers"}
    code, text = preflight("github", PATH=f"{path}:{os.defpath}", **given)
    if complete:
        assert code == 0, text
        return
    for part in (
        "the variable ML_CACHE_DEPLOY_ROLE is missing",
        "the environment production is missing",
        "the environment production-review has no reviewers",
        "the environment staging has no secret KUBECONFIG",
    ):
        assert part in text


def test_a_way_back_needs_only_its_target(tmp_path: Path) -> None:
    path = tools(tmp_path, "kubectl", "curl")
    given = {"DEPLOY_TARGET": "kubectl", "HAS_KUBECONFIG": "false", "ENVIRONMENT": "production"}
    code, text = preflight("target", PATH=path, **given)
    assert code == 1
    assert text.count("error: ") == 1
    assert "the secret KUBECONFIG is empty in the environment production" in text
