"""Tests of loading through MLflow, in a registry on SQLite, by the package's entry point."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import stored

LOADER = """
import pandas

class Doubler:
    def predict(self, model_input, params=None):
        return model_input["n"] * 2

def _load_pyfunc(path):
    return Doubler()
"""
MLMODEL = """
flavors:
  python_function: {loader_module: doubler, code: code, python_version: '3.11'}
signature:
  inputs: '[{"type": "long", "name": "n", "required": true}]'
  outputs: '[{"type": "long", "required": true}]'
  params: null
"""
# What a user runs, with MLflow's own names alone, and in one process: MLflow is slow to start.
USE = """
import mlflow, os, pandas, sys
from pathlib import Path
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
source, store = sys.argv[1:]
client = mlflow.MlflowClient()
client.create_registered_model("doubler")
client.create_model_version("doubler", source)
client.set_registered_model_alias("doubler", "production", "1")
uri = "models:/doubler@production"
os.mkdir("destination")
model = mlflow.pyfunc.load_model(uri, dst_path="destination")
assert model.predict(pandas.DataFrame({"n": [1, 21]})).tolist() == [2, 42]
assert Path(mlflow.artifacts.download_artifacts(uri + "/code")).joinpath("doubler.py").is_file()
assert mlflow.artifacts.load_text(uri + "/MLmodel").startswith("\\nflavors")
assert [file.path for file in mlflow.artifacts.list_artifacts(uri)] == ["MLmodel", "code"]
assert Path(mlflow.artifacts.download_artifacts(source)).joinpath("MLmodel").is_file()
repository = get_artifact_repository(source)
for write in (repository.log_artifact, repository.log_artifacts, repository.delete_artifacts):
    try:
        write("x")
    except MlflowException as error:
        assert error.error_code == "NOT_IMPLEMENTED", error
    else:
        raise AssertionError(write)
def code(make):
    try:
        make()
    except MlflowException as error:
        return error.error_code
code_of = lambda uri: code(lambda: get_artifact_repository(uri).list_artifacts())
assert code_of("ml-cache://acme/x@sha256:1") == "INVALID_PARAMETER_VALUE"
assert code_of(source.replace("doubler", "other")) == "RESOURCE_DOES_NOT_EXIST"
assert code(lambda: repository.download_artifacts("missing", ".")) == "RESOURCE_DOES_NOT_EXIST"
assert code(lambda: repository.download_artifacts("../x", ".")) == "INVALID_PARAMETER_VALUE"

[blob] = [path for path in Path(store, "v1/blobs").rglob("*") if path.is_file()]
blob.chmod(0o644)
blob.write_bytes(blob.read_bytes().replace(b"* 2", b"* 3"))
os.mkdir("damaged")
assert code(lambda: mlflow.pyfunc.load_model(uri, dst_path="damaged")) == "DATA_LOSS"
assert os.listdir("damaged") == []
del os.environ["ML_CACHE_STORE"]
assert code_of(source) == "INVALID_PARAMETER_VALUE"
print("done")
"""


@unittest.skipUnless(importlib.util.find_spec("mlflow"), "without MLflow")
@unittest.skipUnless(stored.PROGRAM, "set ML_CACHE to the program")
class RepositoryTest(unittest.TestCase):
    """A registry and a store, and a process that has MLflow and the package alone."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.work = Path(directory.name)
        self.store = self.work / "store"
        models = self.work / "workspace/models"
        (models / "code").mkdir(parents=True)
        (models / "code/doubler.py").write_text(LOADER)
        (models / "MLmodel").write_text(MLMODEL)
        (self.work / "workspace/train.py").write_text("print('training')\n")
        self.pointer = stored.save(self.work / "workspace", self.store.as_uri(), model="doubler")

    def test_a_registered_version_is_loaded(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(stored.install(self.work)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.work}/mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "ML_CACHE_STORE": self.store.as_uri(),
        }
        ended = subprocess.run(
            [sys.executable, "-c", USE, stored.uri_of(self.pointer), str(self.store)],
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stdout), (0, "done\n"), ended.stderr)


if __name__ == "__main__":
    unittest.main()
