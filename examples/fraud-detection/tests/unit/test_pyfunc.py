"""Tests of what makes a model directory one that MLflow loads."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from example import EXAMPLE
from model import pyfunc
from model.artifact import load_model
from model.data import LABEL, load_transactions
from model.features import build_features

# As on another machine: in an empty directory, without the example's sources.
LOAD = """
import sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
assert [column.name for column in model.metadata.get_output_schema()] == ["score", "alert"]
assert sys.modules["model.pyfunc"].__file__.startswith(sys.argv[1])
model.predict(model.input_example).to_csv(sys.stdout, index=False)
"""


def content(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_the_same_training_gives_the_same_files(generated: Path, tmp_path: Path) -> None:
    transactions = load_transactions(generated)
    for name in "ab":
        (tmp_path / name / "code").mkdir(parents=True)
        (tmp_path / name / "code" / f"{name}.py").write_text("left by an earlier training")
        pyfunc.save_pyfunc(tmp_path / name, transactions)
    written = content(tmp_path / "a")
    assert written == content(tmp_path / "b")
    assert {"MLmodel", "code/model/pyfunc.py", "code/model/features.py"} <= written.keys()
    # What differs between machines that train the same model is in none of them.
    for name, text in written.items():
        assert str(EXAMPLE).encode() not in text, name
        assert sys.version.split()[0].encode() not in text, name


def test_modules_beside_the_package_come_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "model"
    package.mkdir()
    for path, text in {
        package / "__init__.py": "",
        package / "a.py": "import json\nimport model.b\nfrom beside import x\n",
        tmp_path / "beside.py": "import below\n",
        tmp_path / "below.py": "import beside\n",
        tmp_path / "train.py": "import model\n",
    }.items():
        path.write_text(text)
    monkeypatch.setattr(pyfunc, "SOURCES", tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in pyfunc._code()}
    assert found == {"model/__init__.py", "model/a.py", "beside.py", "below.py"}


def test_mlflow_loads_it_without_the_sources(
    small_model: Path, transactions: pd.DataFrame, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, file in content(small_model).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(file)
    pyfunc.save_pyfunc(copy, transactions)
    command = [sys.executable, "-I", "-B", "-c", LOAD, str(copy)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "mismatch" not in ended.stderr  # of libraries, which the model names by their versions
    scored = ended.stdout.splitlines()

    model, threshold = load_model(small_model)
    rows = transactions.head(pyfunc.EXAMPLE_ROWS)
    scores = model.predict_proba(build_features(rows))[:, 1]
    assert scored == ["score,alert", *(f"{score},{score >= threshold}" for score in scores)]


def test_the_order_of_the_payments_does_not_matter(
    small_model: Path, transactions: pd.DataFrame
) -> None:
    payments = transactions.drop(columns=LABEL).head(2000)
    loaded = pyfunc._load_pyfunc(str(small_model))
    in_order = loaded.predict(payments)
    shuffled = payments.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(loaded.predict(shuffled).sort_index(), in_order)
    assert in_order["alert"].dtype == bool
