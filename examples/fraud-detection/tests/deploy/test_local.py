"""Deployments to this machine: real servers behind a real HAProxy."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import httpx2
import pandas as pd
import pytest

from broken import brittle, garbage, useless
from deployment import Deployment
from example import make_pointer, pointer_text
from model.artifact import save_model
from model.config import TrainingConfig
from train import train

if not shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"):
    pytest.fail("HAProxy is missing (on Debian: apt-get install haproxy)", pytrace=False)

# A busy machine is no fault of the canary: the latency is judged in the unit tests.
# Five per cent, because that takes 40 requests to judge, and one per cent, as in the pipeline, 200.
CHECK = (
    "src/check_canary_metrics.py",
    *("--threshold", "0.05", "--latency-slack", "5", "--minutes", "0", "--wait", "0"),
)
REQUESTS = 420


def digest(digit: str) -> str:
    return str(make_pointer(digit)["manifest"]["digest"])


def base_url(local: Deployment, environment: str) -> str:
    return f"http://127.0.0.1:{local.environment[f'{environment.upper()}_PORT']}"


def served(local: Deployment, environment: str = "production") -> set[str]:
    """Returns the manifests of the models that answer."""
    url = f"{base_url(local, environment)}/readyz"
    with httpx2.Client() as client:
        return {client.get(url).json()["manifest"] for _ in range(20)}


def send_traffic(local: Deployment, requests: int = REQUESTS) -> None:
    ended = local.run("production", "src/replay_traffic.py", "--requests", str(requests))
    assert ended.returncode == 0, ended.stderr


def check_canary(local: Deployment) -> tuple[int, str]:
    ended = local.run("production", *CHECK)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def other_model(
    tmp_path_factory: pytest.TempPathFactory,
    small_config: TrainingConfig,
    transactions: pd.DataFrame,
) -> Path:
    """Returns a model as good as the small one and different from it."""
    directory = tmp_path_factory.mktemp("other") / "models"
    save_model(train(small_config, transactions.iloc[:-200]), directory)
    return directory


@pytest.fixture
def production(local: Deployment, small_model: Path) -> Deployment:
    """Returns a deployment whose production serves the small model, named by the digit a."""
    local("canary", "--model", str(small_model), "--pointer", pointer_text("a"))
    local("promote")
    return local


def run_tests(local: Deployment, environment: str, model: Path) -> tuple[int, str]:
    """Runs the tests of a served model, as the pipeline does."""
    tests = ("tests/smoke", "tests/integration", "--model-dir", str(model))
    ended = local.run(environment, "-m", "pytest", "-q", *tests)
    return ended.returncode, ended.stdout


def test_what_is_served_is_told(production: Deployment) -> None:
    assert json.loads(production("pointer", "production")) == make_pointer("a")
    assert production("pointer", "staging") == ""


def test_staging_is_replaced(local: Deployment, small_model: Path, other_model: Path) -> None:
    for digit, model in (("a", small_model), ("b", other_model)):
        local("staging", "--model", str(model), "--pointer", pointer_text(digit))
        assert served(local, "staging") == {digest(digit)}
        code, text = run_tests(local, "staging", model)
        assert code == 0, text
    # The tests notice when another model answers.
    code, text = run_tests(local, "staging", small_model)
    assert code == 1
    assert "FAILED tests/integration" in text


def test_a_canary_gets_a_tenth_and_is_promoted(
    production: Deployment, other_model: Path, tmp_path: Path
) -> None:
    pointer = tmp_path / "pointer.json"
    pointer.write_text(pointer_text("b"))
    production("canary", "--model", str(other_model), "--pointer", str(pointer))
    assert served(production) == {digest("a"), digest("b")}
    send_traffic(production)
    code, text = check_canary(production)
    assert code == 0, text
    assert f"after {REQUESTS // 10} requests beside {REQUESTS - REQUESTS // 10}" in text
    production("share", "50")
    send_traffic(production, 160)
    code, text = check_canary(production)
    assert code == 0, text
    assert "after 80 requests beside 80" in text
    production("promote", "--reason", "it is better")
    assert served(production) == {digest("b")}
    # After the rollout, the version before is what it is compared with.
    code, text = check_canary(production)
    assert code == 1
    assert "canary needs 40 requests to judge a threshold of 5%, has 0" in text
    send_traffic(production, 60)
    code, text = check_canary(production)
    assert code == 0, text
    assert "after 60 requests beside 80" in text
    status = production("status")
    assert [line.split()[1] for line in status.splitlines()] == ["stable", "previous"]
    assert "stopped" not in status

    # What still runs needs neither its model nor its libraries to serve again.
    previous = Path(production.environment["DEPLOY_STATE"]) / "production" / "previous"
    (previous / "models" / "model.ubj").write_text("broken")
    production("rollback")
    assert served(production) == {digest("a")}
    assert "already is what it was" in production.call("rollback").stderr
    assert [line.split(" | ")[1] for line in production("history").splitlines()[2:]] == [
        "rollback",
        "deploy",
        "deploy",
    ]


@pytest.mark.parametrize(
    ("fault", "message"), [("brittle", "error rate"), ("garbage", "scores moved")]
)
def test_a_bad_canary_is_found_and_rolled_back(
    production: Deployment,
    small_model: Path,
    small_config: TrainingConfig,
    transactions: pd.DataFrame,
    tmp_path: Path,
    fault: str,
    message: str,
) -> None:
    if fault == "brittle":
        model = brittle(small_model, tmp_path / "bad", small_config, transactions)
    else:
        model = garbage(small_model, tmp_path / "bad")
    production("canary", "--model", str(model), "--pointer", pointer_text("b"))
    send_traffic(production)
    code, text = check_canary(production)
    assert code == 1
    assert "the canary must not go on" in text
    assert message in text
    production("rollback")
    assert served(production) == {digest("a")}
    code, text = run_tests(production, "production", small_model)
    assert code == 0, text


def test_an_older_run_does_not_replace_a_newer_one(
    local: Deployment, small_model: Path, other_model: Path
) -> None:
    def run(number: str) -> Deployment:
        return local.given(DEPLOY_ORDER=number)

    first = ("--model", str(small_model), "--pointer", pointer_text("a"))
    second = ("--model", str(other_model), "--pointer", pointer_text("b"))
    run("8")("canary", *first)
    assert local.step_output() == "before="
    local("promote")
    run("10")("canary", *second)
    assert local.step_output() == f"before={digest('a')}"
    local("promote")
    run("10")("staging", *second)
    for command in ("staging", "canary"):
        ended = run("9").call(command, *first)
        assert ended.returncode == 1
        assert "the newer run 10 deployed, and this is run 9" in ended.stderr
    local("rollback")
    assert served(local) == served(local, "staging") == {digest("b")}, "it never began"

    run("10")("staging", *first)
    run("seven")("staging", *second)
    run("1")("staging", *first)
    run("10")("canary", *first)
    assert local.step_output() == f"before={digest('b')}"
    local("rollback")
    # What a rollback goes back to counts.
    run("12")("canary", *first)
    local("promote")
    local("rollback")
    run("11")("canary", *first)


@pytest.mark.parametrize(("expected", "code"), [("a", 0), ("b", 1), ("", 0)])
def test_the_smoke_test_asks_for_the_model_that_is_meant(
    production: Deployment, expected: str, code: int
) -> None:
    asked = production.given(EXPECTED_MANIFEST=expected and digest(expected))
    assert asked.run("production", "-m", "pytest", "-q", "tests/smoke").returncode == code


def test_a_canary_without_traffic_is_not_good(production: Deployment, small_model: Path) -> None:
    production("canary", "--model", str(small_model), "--pointer", pointer_text("b"))
    code, text = check_canary(production)
    assert code == 1
    assert "canary needs 40 requests to judge a threshold of 5%, has 0" in text


def test_what_never_becomes_ready_gets_no_request(
    production: Deployment, small_model: Path, tmp_path: Path
) -> None:
    model = useless(small_model, tmp_path / "useless")
    for command in ("canary", "staging"):
        ended = production.call(command, "--model", str(model), "--pointer", pointer_text("b"))
        assert ended.returncode == 1
        assert "does not become ready" in ended.stderr
        production("rollback")
    assert served(production) == {digest("a")}


def test_the_first_version_has_nothing_to_go_back_to(local: Deployment, small_model: Path) -> None:
    local("canary", "--model", str(small_model), "--pointer", pointer_text("a"))
    assert served(local) == {digest("a")}
    send_traffic(local, 40)
    assert check_canary(local)[0] == 0
    for _ in range(2):
        assert local.rollback() == (0, "production serves nothing: there is no earlier version")
        assert local.step_output() == "serves=false"
        with pytest.raises(httpx2.ConnectError):
            served(local)
    assert local("status") == ""


def test_the_first_version_stays(production: Deployment, small_model: Path, tmp_path: Path) -> None:
    for _ in range(2):
        code, message = production.rollback()
        assert code == 1
        assert message == "error: there is no earlier version; production keeps the first one"
        assert served(production) == {digest("a")}
    bad = useless(small_model, tmp_path / "useless")
    assert production.call("canary", "--model", str(bad)).returncode == 1
    assert production.rollback()[0] == 0, "there was a version before that canary"
    assert production.step_output() == "serves=true"
    assert served(production) == {digest("a")}


def test_what_serves_outlives_the_job(production: Deployment) -> None:
    directory = Path(production.environment["DEPLOY_STATE"]) / "production"
    (release,) = (directory / "releases").iterdir()
    for pid in (release / "pid", directory / "haproxy.pid"):
        environment = Path(f"/proc/{pid.read_text().strip()}/environ").read_bytes()
        assert b"PATH=" in environment
        assert b"RUNNER_TRACKING_ID" not in environment


def test_production_comes_back_with_the_next_canary(
    production: Deployment, other_model: Path
) -> None:
    production("stop")
    assert "stopped" in production("status")
    production("canary", "--model", str(other_model), "--pointer", pointer_text("b"))
    assert served(production) == {digest("a"), digest("b")}


def test_production_goes_back_to_the_model_that_was_deployed_before(
    production: Deployment, other_model: Path
) -> None:
    for digit in ("b", "b"):
        production("canary", "--model", str(other_model), "--pointer", pointer_text(digit))
        production("promote")
    production("back", "--reason", "b is slow")
    assert served(production) == {digest("a")}
    assert "| b is slow |" in production("history").splitlines()[2]
    production("rollback")
    assert served(production) == {digest("a")}


def test_a_canary_takes_the_place_of_the_model_that_it_was_compared_with(
    production: Deployment, other_model: Path
) -> None:
    canary = ["canary", "--model", str(other_model), "--pointer", pointer_text("b")]
    for compared in ("none", digest("c")):
        ended = production.call(*canary, "--instead-of", compared)
        assert ended.returncode == 1
        assert f"production serves {digest('a')} now" in ended.stderr
        assert f"compared with {compared}" in ended.stderr
        assert served(production) == {digest("a")}
    production(*canary, "--instead-of", digest("a"))
    production("promote")
    # A job that is run again finds its own model there.
    production(*canary, "--instead-of", digest("a"))


def test_what_a_cancelled_canary_left_is_removed(
    production: Deployment, other_model: Path, tmp_path: Path
) -> None:
    releases = Path(production.environment["DEPLOY_STATE"]) / "production" / "releases"
    (kept,) = releases.iterdir()
    (releases.parent / "first").unlink()  # what a canary begins with
    shutil.copytree(other_model, releases / "2" / "models")
    for _ in range(2):
        production("rollback")
        assert list(releases.iterdir()) == [kept]
        assert served(production) == {digest("a")}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_promotion_that_is_interrupted_is_taken_back(
    production: Deployment, other_model: Path, tmp_path: Path, renames: int
) -> None:
    production("canary", "--model", str(other_model), "--pointer", pointer_text("b"))
    # The promotion is ended before a rename, or else when it changes the routes.
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, count in (("mv", renames), ("haproxy", 0)):
        tool = tools / name
        tool.write_text(
            f"""#!/bin/sh
            echo x >>"$0.calls"
            [ "$(wc -l <"$0.calls")" -le {count} ] || {{ kill -9 $PPID; exit 1; }}
            exec /usr/bin/{name} "$@"
            """
        )
        tool.chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    cut = replace(production, environment=production.environment | {"PATH": path})
    assert cut.call("promote").returncode != 0
    for _ in range(2):
        production("rollback")
        assert served(production) == {digest("a")}
    assert [line.split()[1] for line in production("status").splitlines()] == ["stable"]


def test_a_rollback_of_nothing_is_no_error(local: Deployment) -> None:
    for _ in range(2):
        assert local.rollback() == (0, "production serves nothing: there is no earlier version")
        assert local.step_output() == "serves=false"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote"], "there is no canary"),
        (["canary", "--model", "missing", "--pointer", "{}"], "there is no model in `missing`"),
        (["canary", "--colour", "blue"], "unknown argument `--colour`"),
        (["exec", "mars", "true"], "exec takes staging or production"),
        ([], "scripts/deploy staging"),
    ],
)
def test_what_cannot_be_done_is_told(local: Deployment, arguments: list[str], message: str) -> None:
    ended = local.call(*arguments)
    assert ended.returncode in (1, 2)
    assert message in ended.stderr
