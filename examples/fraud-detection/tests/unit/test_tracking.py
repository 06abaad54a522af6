"""Tests of the log of trainings and of the registry, on SQLite."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import register_model
import tracking
import train
from example import EXAMPLE, SMALL_CONFIG, make_pointer

if TYPE_CHECKING:
    from mlflow import MlflowClient

POINTER = make_pointer("a")
MANIFEST = POINTER["manifest"]["digest"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """Returns a client of the tests' database, in an empty directory with the data."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_SHA", "0123abcd")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(EXAMPLE / "data")
    return tracking.connect()


def outputs(directory: Path) -> dict[str, str]:
    lines = (directory / "output").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def run_id(client: "MlflowClient", tmp_path: Path) -> Iterator[str]:
    with tracking.start_run("registrations") as run:
        yield run.run_id


def test_a_training_is_logged(client: "MlflowClient", tmp_path: Path) -> None:
    arguments = ["--config", str(SMALL_CONFIG), "--experiment-name", "trainings", "--jobs", "1"]
    assert train.main(arguments) == 0
    run = client.get_run(outputs(tmp_path)["run-id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["search.folds"] == "2"
    assert run.data.params["best.max_leaf_nodes"] == "7"
    metrics = json.loads(Path("models/metrics.json").read_text())
    assert run.data.metrics["test.roc_auc"] == metrics["test"]["roc_auc"]
    assert run.data.tags["git.commit"] == "0123abcd"
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert logged == {"small_config.yaml", "metrics.json", "model_card.md"}


def test_a_training_that_fails_is_logged_as_such(client: "MlflowClient", tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), tracking.start_run("trainings"):
        raise RuntimeError
    assert client.get_run(outputs(tmp_path)["run-id"]).info.status == "FAILED"


def test_without_an_experiment_mlflow_is_not_needed() -> None:
    program = (
        "import sys; sys.modules['mlflow'] = None; import train;"
        " sys.exit(train.main(['--config', 'missing.yaml']))"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(
        command, cwd=EXAMPLE / "src", capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "error: " in ended.stderr
    assert "missing.yaml" in ended.stderr


def test_a_version_carries_the_digests(
    client: "MlflowClient", run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--run-id", run_id, "--model-name", "fraud-detector"]
    monkeypatch.setenv("MODEL_POINTER", json.dumps(POINTER))
    assert register_model.main(arguments) == 0
    version = client.get_model_version("fraud-detector", outputs(tmp_path)["model-version"])
    assert version.run_id == run_id
    assert version.source == f"ml-cache://acme/fraud-detection/fraud-detector@{MANIFEST}"
    assert version.tags == {
        "ml-cache.manifest": MANIFEST,
        "ml-cache.fingerprint": POINTER["fingerprint"],
        "ml-cache.generation": "1",
    }

    assert register_model.main(arguments) == 0
    assert len(client.search_model_versions("name = 'fraud-detector'")) == 1
    other = POINTER | {"manifest": {"digest": "sha256:" + "c" * 64}}
    assert register_model.main([*arguments, "--pointer", json.dumps(other)]) == 0
    assert len(client.search_model_versions("name = 'fraud-detector'")) == 2


@pytest.mark.parametrize(
    ("run", "pointer", "message"),
    [
        ("no-such-run", json.dumps(POINTER), "no-such-run"),
        (None, '{"schema": "another"}', "not a pointer"),
        (None, "missing.json", "missing.json"),
        (None, json.dumps(POINTER | {"fingerprint": "sha256:12"}), "not a digest"),
    ],
)
def test_what_cannot_be_registered_is_refused(
    run_id: str,
    run: str | None,
    pointer: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--run-id", run or run_id, "--model-name", "refused", "--pointer", pointer]
    assert register_model.main(arguments) == 1
    assert message in capsys.readouterr().err
