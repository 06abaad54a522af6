"""The whole pipeline on one machine, as its script runs it; with a search that takes a moment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from example import EXAMPLE, SMALL_CONFIG


def test_the_pipeline_runs_on_this_machine(tmp_path: Path) -> None:
    made = shutil.ignore_patterns("__pycache__", ".*", "models", "checkpoints", "mlflow.db")
    copy = shutil.copytree(EXAMPLE, tmp_path / "copy", ignore=made)
    shutil.copy(SMALL_CONFIG, copy / "configs" / "training_config.yaml")
    script = copy / "scripts" / "run-local"
    # As many requests as a canary with a tenth of them needs for this threshold.
    text = script.read_text().replace("--requests 2500", "--requests 420")
    script.write_text(text.replace("--threshold 0.01", "--threshold 0.05 --latency-slack 5"))
    ended = subprocess.run(
        [script],
        env=os.environ | {"PYTHON": sys.executable, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    jobs = re.findall(r"^== (.*)$", ended.stdout, re.MULTILINE)
    assert jobs == [
        "data-validation",
        "plan",
        "train-model",
        "deploy-staging",
        "deploy-production: the first version",
        "deploy-production: the next version",
        "done; everything that was started is stopped",
    ]
    assert "after 42 requests beside 378" in said, "a canary is compared with what was there"
    assert "production serves release 2" in said
    if "ML_CACHE" in os.environ:
        assert "fraud-detector: saved" in said
        assert "fraud-detector: restored" in said
        assert "fraud-detector version 1: ml-cache://" in said
    assert not list(tmp_path.glob("tmp.*")), "nothing of it is left"
