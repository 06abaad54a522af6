"""Stores that the program `ml-cache` itself wrote."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

PROGRAM = os.environ.get("ML_CACHE") or shutil.which("ml-cache")
PACKAGE = Path(__file__).parents[1]
NAMESPACE = "acme/fraud detection"
MODEL = "fraud-detector"
# Of GitHub's runs, nothing is to reach the program.
FOREIGN = ("GITHUB_", "RUNNER_", "ACTIONS_", "INPUT_", "ML_CACHE_STORE")


def make_tree(workspace: Path) -> dict[str, bytes]:
    """Writes a model of every kind of entry; returns its files, relative to `models`."""
    files = {
        "MLmodel": b"flavors: {}\n",
        "empty": b"",
        "weights/big.bin": bytes(range(256)) * (36 << 10),  # 9 MiB, in two chunks
        "weights/r\u00e9sum\u00e9.json": b'{"threshold": 0.5}\n',
    }
    for name, content in files.items():
        path = workspace / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (workspace / "models/run.sh").write_bytes(b"#!/bin/sh\n")
    (workspace / "models/run.sh").chmod(0o755)
    (workspace / "models/latest").symlink_to("weights/big.bin")
    (workspace / "models/cache").mkdir()
    (workspace / "train.py").write_text("print('training')\n")
    return files | {"run.sh": b"#!/bin/sh\n"}


def install(work: Path) -> Path:
    """Returns a directory for Python's path that has the package as pip installs it."""
    installed = work / "installed"
    metadata = installed / "mlflow_ml_cache.dist-info"
    metadata.mkdir(parents=True)
    (installed / "mlflow_ml_cache").symlink_to(PACKAGE / "src/mlflow_ml_cache")
    project: dict[str, Any] = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    lines = [
        line
        for group, names in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {at}" for name, at in names.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    return installed


def save(workspace: Path, store: str, *flags: str, model: str = MODEL) -> dict[str, Any]:
    """Saves the tree below `models`; returns the pointer."""
    inputs = ["--model", model, "--namespace", NAMESPACE, "--training-paths", "train.py"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    ended = subprocess.run(
        [
            str(PROGRAM),
            "save",
            "--store",
            store,
            *inputs,
            "--model-path",
            "models",
            "--json",
            *flags,
        ],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    pointer: dict[str, Any] = json.loads(ended.stdout)["pointer"]
    return pointer


def uri_of(pointer: dict[str, Any], path: str = "models", manifest: str | None = None) -> str:
    """Returns the address of a pointer's model."""
    fingerprint = pointer["fingerprint"].removeprefix("sha256:")
    digest = manifest or pointer["manifest"]["digest"].removeprefix("sha256:")
    name = pointer["model"].replace(" ", "%20")
    uri = f"ml-cache://v1/trusted/acme/fraud%20detection/{name}/{fingerprint}/{digest}"
    return f"{uri}/{path}" if path else uri


def everything(directory: Path) -> set[str]:
    """Returns every entry below a directory, hidden ones too."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}
