"""The example's model, from its training to a machine that has MLflow and the package alone.

`EXAMPLE` names the directory of the example, whose libraries must be installed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import stored

LOAD = """
import mlflow
model = mlflow.pyfunc.load_model("models:/fraud-detector@production")
print(model.predict(model.input_example).to_json(orient="columns"))
"""


@unittest.skipUnless(stored.PROGRAM, "set ML_CACHE to the program")
@unittest.skipUnless(os.environ.get("EXAMPLE"), "set EXAMPLE to the example")
class ExampleTest(unittest.TestCase):
    """A pipeline in small, and another machine."""

    def python(self, directory: Path, *arguments: str, path: str = "") -> str:
        ended = subprocess.run(
            [sys.executable, "-B", *arguments],
            cwd=directory,
            env=self.environment | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout

    def test_what_the_example_registers_is_loaded(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        work = Path(temporary.name)
        example, store, elsewhere = work / "example", work / "store", work / "elsewhere"
        elsewhere.mkdir()
        ignored = shutil.ignore_patterns(".venv", "models", "mlflow.db", "mlruns")
        shutil.copytree(os.environ["EXAMPLE"], example, ignore=ignored)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(stored.FOREIGN)},
            "MLFLOW_TRACKING_URI": f"sqlite:///{work}/mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        small = ("--config", "tests/support/small_config.yaml", "--jobs", "1")
        self.python(example, "src/train.py", *small, "--experiment-name", "small")
        self.environment["ML_CACHE_STORE"] = store.as_uri()
        saved = subprocess.run(
            [str(stored.PROGRAM), "save", "--model", "fraud-detector", "--json"],
            cwd=example,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(saved.returncode, 0, saved.stderr)
        pointer = json.dumps(json.loads(saved.stdout)["pointer"])
        register = ("--model-name", "fraud-detector", "--alias", "production", "--pointer", pointer)
        self.python(example, "src/register_model.py", *register)

        example.rename(work / "gone")
        scored = json.loads(self.python(elsewhere, "-c", LOAD, path=str(stored.install(work))))
        self.assertEqual(list(scored), ["score", "alert"])
        self.assertTrue(all(0 <= score <= 1 for score in scored["score"].values()))


if __name__ == "__main__":
    unittest.main()
