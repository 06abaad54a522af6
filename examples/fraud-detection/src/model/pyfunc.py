"""The model directory as MLflow loads it: its flavor `python_function`.

What MLflow itself writes has times and random names in it. These files are made of the training's
inputs alone, so that a training gives the same bytes whether or not it is logged to MLflow.
"""

import ast
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from model.artifact import load_model
from model.data import COLUMNS, LABEL
from model.features import build_features

SOURCES = Path(__file__).parents[1]
REQUIREMENTS = SOURCES.parent / "requirements.txt"
CODE = "code"
EXAMPLE_ROWS = 5

INPUTS = {name: kind for name, kind in COLUMNS.items() if name != LABEL}
# MLflow's names. Its own `datetime` has no time zone, so a time is text, as in a request.
KINDS = {
    "int8": "integer",
    "int64": "long",
    "float64": "double",
    "str": "string",
    "datetime64[ns, UTC]": "string",
}
OUTPUTS = {"score": "double", "alert": "boolean"}


class FraudDetector:
    """Scores payments; MLflow calls `predict`."""

    def __init__(self, directory: Path) -> None:
        self._model, self._threshold = load_model(directory)

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Returns `score` and `alert` for each payment, in the order of the input.

        A payment's features look back at the earlier payments of its account in the input.
        """
        payments = model_input[list(INPUTS)].astype(INPUTS)
        # Equal times are ordered by transaction, as in training.
        ordered = payments.reset_index(drop=True).sort_values(["timestamp", "transaction_id"])
        scores = self._model.predict_proba(build_features(ordered))[:, 1]
        scored = pd.DataFrame({"score": scores}, index=ordered.index).sort_index()
        scored["alert"] = scored["score"] >= self._threshold
        return scored.set_axis(model_input.index)


def _load_pyfunc(path: str) -> FraudDetector:
    """Loads the model; MLflow calls this, with the directory in which `MLmodel` lies."""
    return FraudDetector(Path(path))


def save_pyfunc(directory: Path, transactions: pd.DataFrame) -> None:
    """Makes a model directory one that `mlflow.pyfunc.load_model` loads on any machine.

    Adds the signature, an example of the input, the code and the versions of its libraries.
    """
    shutil.rmtree(directory / CODE, ignore_errors=True)
    for source in _code():
        copy = directory / CODE / source.relative_to(SOURCES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    example = _example(transactions)
    _write(directory / "input_example.json", json.dumps(example))
    _write(directory / "serving_input_example.json", json.dumps({"dataframe_split": example}))
    _write(directory / "requirements.txt", "\n".join(_requirements()))
    # Without the last number, which says nothing about a model.
    python = ".".join(str(number) for number in sys.version_info[:2])
    _write(
        directory / "python_env.yaml",
        yaml.safe_dump({"python": python, "dependencies": ["-r requirements.txt"]}).rstrip(),
    )
    _write(directory / "MLmodel", yaml.safe_dump(_description(python)).rstrip())


def schema() -> str:
    """Returns the columns of the data in MLflow's form: those of a payment, and the label."""
    return _columns({name: KINDS[kind] for name, kind in COLUMNS.items()})


def _description(python: str) -> dict[str, Any]:
    return {
        "flavors": {
            "python_function": {
                "loader_module": "model.pyfunc",
                "code": CODE,
                "env": {"virtualenv": "python_env.yaml"},
                "python_version": python,
            }
        },
        "signature": {
            "inputs": _columns({name: KINDS[kind] for name, kind in INPUTS.items()}),
            "outputs": _columns(OUTPUTS),
            "params": None,
        },
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }


def _columns(kinds: dict[str, str]) -> str:
    return json.dumps([{"type": k, "name": n, "required": True} for n, k in kinds.items()])


def _example(transactions: pd.DataFrame) -> dict[str, list[Any]]:
    rows = transactions[list(INPUTS)].head(EXAMPLE_ROWS)
    rows = rows.assign(timestamp=rows["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return {"columns": list(INPUTS), "data": [list(row) for row in rows.to_numpy().tolist()]}


def _code() -> list[Path]:
    """Returns this package's files, and the modules beside it that they import."""
    found: set[Path] = set()
    waiting = sorted((SOURCES / "model").glob("**/*.py"))
    while waiting:
        source = waiting.pop()
        if source in found or not source.is_file():
            continue
        found.add(source)
        for node in ast.walk(ast.parse(source.read_bytes())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            waiting += [SOURCES / f"{name.split('.')[0]}.py" for name in names]
    return sorted(found)


def _requirements() -> list[str]:
    """Returns the versions of the libraries that the example imports.

    Those that these libraries need in turn are left to pip, because MLflow needs some of them too.
    """
    imported = REQUIREMENTS.read_text(encoding="utf-8").split("# Needed by those.")[0]
    return re.findall(r"^[A-Za-z0-9._-]+(?:\[\w+\])?==[0-9][0-9a-z.]*", imported, re.MULTILINE)


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
