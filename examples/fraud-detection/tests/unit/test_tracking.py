"""Tests of the log of trainings and of the registry, on SQLite."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import register_model
import tracking
import train
from example import EXAMPLE, SMALL_CONFIG, make_pointer, pointer_text
from pointer import read_pointer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.entities import PagedList

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


def test_a_run_has_an_address_where_there_is_a_server(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.run_page(client, run_id) == ""  # a database has no pages
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example.com/team/")
    experiment = client.get_run(run_id).info.experiment_id
    page = f"https://mlflow.example.com/team/#/experiments/{experiment}/runs/{run_id}"
    assert tracking.run_page(client, run_id) == page


def test_a_training_is_logged(client: "MlflowClient", tmp_path: Path) -> None:
    arguments = ["--config", str(SMALL_CONFIG), "--experiment-name", "trainings", "--jobs", "1"]
    assert train.main(arguments) == 0
    run = client.get_run(outputs(tmp_path)["run-id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["search.folds"] == "2"
    assert run.data.params["best.max_leaves"] == "7"
    metrics = json.loads(Path("models/metrics.json").read_text())
    assert run.data.metrics["test.roc_auc"] == metrics["test.roc_auc"]
    assert run.data.tags["git.commit"] == "0123abcd"
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert logged == {"small_config.yaml", "metrics.json", "model_card.md"}
    assert run.inputs
    (used,) = run.inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in used.tags}
    data_hash = tracking.data_hash(Path("data/training"))
    assert tags == {"mlflow.data.context": "training", "ml-cache.data-hash": f"sha256:{data_hash}"}
    assert (used.dataset.name, used.dataset.digest) == ("training", data_hash[:32])
    assert json.loads(used.dataset.source)["tags"]["path"] == "data/training"
    assert '"is_fraud"' in str(used.dataset.schema)
    assert run.data.tags["ml-cache.data-hash"] == f"sha256:{data_hash}"


def test_the_data_has_the_hash_that_ml_cache_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"b.csv": "2\n", "a/ü.csv": "1\n", "a.csv": ""}.items():
        path = Path("data/training") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # The output `data-hash` of `ml-cache plan --data-paths 'data/training/**'`.
    assert (
        tracking.data_hash(Path("data/training"))
        == "8c86164a1dc8b3a5b0ff9cb9d7a2dbc594ec7d308ebeeacc98b6c1f68a50bd16"
    )


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
    assert ended.returncode == 2
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
    digests = f"{'f' * 64}/{'a' * 64}"
    assert (
        version.source
        == f"ml-cache://v1/trusted/acme/fraud-detection/fraud-detector/{digests}/models"
    )
    assert version.tags == {
        "ml-cache.manifest": MANIFEST,
        "ml-cache.fingerprint": POINTER["fingerprint"],
        "ml-cache.generation": "1",
    }


def versions(client: "MlflowClient", name: str) -> dict[str, str]:
    """Returns the manifest of each version."""
    found = client.search_model_versions(f"name = '{name}'")
    return {str(version.version): version.tags["ml-cache.manifest"] for version in found}


def test_a_model_is_registered_once(client: "MlflowClient", run_id: str) -> None:
    first = ["--model-name", "once", "--pointer", json.dumps(POINTER), "--run-id", run_id]
    same_bytes = POINTER | {"fingerprint": "sha256:" + "e" * 64, "generation": 2}
    for arguments in (first, first, first[:4], [*first, "--pointer", json.dumps(same_bytes)]):
        assert register_model.main(arguments) == 0
        assert versions(client, "once") == {"1": MANIFEST}
    assert register_model.main([*first, "--pointer", pointer_text("b")]) == 0
    assert len(versions(client, "once")) == 2


def test_every_page_of_the_answer_is_read(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_registered_model("paged")
    for tag in ("another", MANIFEST, "another", MANIFEST):
        client.create_model_version("paged", "ml-cache://x", tags={"ml-cache.manifest": tag})
    search = client.search_model_versions

    def newest_first_in_small_pages(wanted: str, **arguments: Any) -> "PagedList[ModelVersion]":
        arguments |= {"max_results": 1, "order_by": ["version_number DESC"]}
        return search(wanted, **arguments)

    monkeypatch.setattr(client, "search_model_versions", newest_first_in_small_pages)
    assert register_model.register(client, "paged", read_pointer(json.dumps(POINTER))) == 2


def test_of_two_jobs_in_the_same_moment_one_registers(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = read_pointer(json.dumps(POINTER))
    assert register_model.register(client, "raced", pointer) == 1

    # The other job looked before the first one had made the model and its version.
    find, answers = register_model.find_version, [None]
    monkeypatch.setattr(
        register_model, "find_version", lambda *asked: answers.pop() if answers else find(*asked)
    )
    monkeypatch.setattr(client, "search_registered_models", lambda wanted: [])
    assert register_model.register(client, "raced", pointer) == 1
    assert versions(client, "raced") == {"1": MANIFEST}


def deploy(name: str, digit: str, alias: str, **changes: Any) -> int:
    """Registers as a deploying job does, which knows the pointer and no run."""
    arguments = ["--model-name", name, "--experiment-name", "deployed", "--alias", alias]
    pointer = json.dumps(make_pointer(digit) | changes)
    return register_model.main([*arguments, "--pointer", pointer])


def test_what_was_not_registered_is_registered_by_the_deployment(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ML_CACHE_FINGERPRINT", POINTER["fingerprint"])
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "1")
    runs = {}
    for workflow_run in ("41", "42"):
        monkeypatch.setenv("GITHUB_RUN_ID", workflow_run)
        with tracking.start_run("deployed") as run:
            runs[workflow_run] = run.run_id
    monkeypatch.setenv("GITHUB_RUN_ID", "43")
    with pytest.raises(RuntimeError), tracking.start_run("deployed"):
        raise RuntimeError

    # On a machine of one's own, the newest that finished; in a workflow, exactly the one.
    assert deploy("lost", "a", "staging") == 0
    assert client.get_model_version("lost", "1").run_id == runs["42"]
    assert deploy("lost", "b", "staging", producer={"run_id": 41, "run_attempt": 1}) == 0
    assert client.get_model_version("lost", "2").run_id == runs["41"]
    assert "note" not in capsys.readouterr().err

    # Without a run rather than with a wrong one, and rather than not at all.
    assert deploy("lost", "c", "staging", producer={"run_id": 41, "run_attempt": 2}) == 0
    assert not client.get_model_version("lost", "3").run_id
    assert "note: the training's run is not known" in capsys.readouterr().err


def test_the_alias_follows_what_is_deployed(
    client: "MlflowClient", run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = ["--model-name", "aliased", "--run-id", run_id, "--pointer"]
    for digit in "ab":
        assert register_model.main([*trained, pointer_text(digit)]) == 0
    assert client.get_registered_model("aliased").aliases == {}

    for digit, version, said in (
        ("a", "1", "production: version 1, before it none"),
        ("b", "2", "production: version 2, before it 1"),
        ("b", "2", "production: version 2, as before"),
        ("a", "1", "production: version 1, before it 2"),
    ):
        assert deploy("aliased", digit, "production") == 0
        served = client.get_model_version_by_alias("aliased", "production")
        assert (str(served.version), served.run_id) == (version, run_id)
        assert outputs(tmp_path)["model-version"] == version
        assert said in capsys.readouterr().out
    assert deploy("aliased", "b", "staging") == 0
    aliases = client.get_registered_model("aliased").aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {
        "production": "1",
        "staging": "2",
    }
    assert len(versions(client, "aliased")) == 2


@pytest.mark.parametrize(
    ("run", "pointer", "message"),
    [
        ("no-such-run", json.dumps(POINTER), "no-such-run"),
        (None, json.dumps(POINTER | {"scope": "pr/8"}), "scope `pr/8` is not registered"),
        (None, '{"schema": "another"}', "not a pointer"),
        (None, "missing.json", "missing.json"),
        (None, json.dumps(POINTER | {"fingerprint": "sha256:12"}), "not a digest"),
    ],
)
def test_what_cannot_be_registered_is_refused(
    client: "MlflowClient",
    run_id: str,
    run: str | None,
    pointer: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--run-id", run or run_id, "--model-name", "refused", "--pointer", pointer]
    assert register_model.main(arguments) == 1
    assert message in capsys.readouterr().err
    assert versions(client, "refused") == {}


@pytest.fixture
def refusals(client: "MlflowClient", monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yields the credentials that came to a server, which takes none and shows them to everyone."""
    seen: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", "none"))
            body = f"<html>\n<p>Not authenticated: {seen[-1]}</p>\n</html>".encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        yield seen
        server.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("variables", "sent", "message"),
    [
        ({"TOKEN": "wrong-1234"}, ["Bearer wrong-1234"], "MLflow refuses the credentials"),
        (
            {"USERNAME": "robot", "PASSWORD": "wrong-1234"},
            ["Basic cm9ib3Q6d3JvbmctMTIzNA=="],
            "Not authenticated: Basic ***",
        ),
        # Secrets that are not set are empty in a workflow.
        ({"TOKEN": "", "USERNAME": "", "PASSWORD": ""}, ["none"], "error code 401"),
        # Pasted with the end of its line, it is no header, and the message would quote it.
        ({"TOKEN": "wrong-1234\n"}, [], "Bearer ***"),
    ],
)
def test_refused_credentials_are_one_line_without_them(
    refusals: list[str],
    variables: dict[str, str],
    sent: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    training = ["--config", str(SMALL_CONFIG), "--experiment-name", "refused"]
    for program in ("register", "train"):
        ended = deploy("refused", "a", "x") if program == "register" else train.main(training)
        assert ended == 1
        printed = capsys.readouterr().err
        assert printed.startswith("error: ")
        assert printed.count("\n") == 1
        assert message in printed
        assert not re.search("wrong-1234|cm9ib3Q6", printed)
    assert refusals == sent * 2


def test_the_workflow_registers_what_is_deployed_and_nothing_else() -> None:
    workflows = EXAMPLE / ".github/workflows"
    jobs: dict[str, Any] = {}
    for file in ("ml-pipeline.yml", "deploy.yml"):
        jobs |= yaml.safe_load((workflows / file).read_text())["jobs"]
    registering = {}
    for name, job in jobs.items():
        steps = job.get("steps", [])
        for place, step in enumerate(steps):
            if "MLFLOW_TRACKING_TOKEN" in step.get("env", {}):
                assert re.search("register_model.py|--experiment-name", step["run"])
            if "register_model.py" in step.get("run", ""):
                registering[name] = step["if"]
                # Nothing comes after it, so a registry that is down takes no model back.
                assert place == len(steps) - 1
    assert registering == {
        "train-model": "needs.plan.outputs.deploys == 'true'",
        "deploy-staging": "vars.MLFLOW_TRACKING_URI != ''",
        "deploy-production": "vars.MLFLOW_TRACKING_URI != ''",
    }
    assert jobs["deploy"]["if"].count("needs.plan.outputs.deploys == 'true'") == 1
