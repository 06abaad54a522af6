"""Runs the gates of the example's pipeline where something is wrong, and keeps what they write for people.

    gates.py PYTHON OUT

PYTHON has the packages of the example's validation and serving. Data is spoiled as people spoil it; canaries are
real servers behind HAProxy that answer replayed payments. OUT gets one Markdown file a gate, and the drift's plot.
"""

import csv
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/fraud-detection"
JUNE = "data/training/transactions-2024-06.csv"
# A model that cannot encode what it was not trained on, from the example's own tests.
BRITTLE = """
import sys
from pathlib import Path
from broken import brittle
from model.config import load_config
from model.data import load_transactions
good, bad = map(Path, sys.argv[1:])
brittle(good, bad, load_config(Path("configs/training_config.yaml")), load_transactions(Path("data/training")))
"""


class Pipeline:
    """A copy of the example, and the means to run its commands."""

    def __init__(self, python, place, out):
        self.python, self.out, self.work, self.place = python, out, place / "work", place
        ignored = shutil.ignore_patterns("models", "checkpoints", "reports", ".*", "*_cache", "__pycache__", "mlflow.db")
        shutil.copytree(EXAMPLE, self.work, ignore=ignored)
        self.reserved = staging, production = reserve_port(), reserve_port()
        self.env = os.environ | {
            "PYTHON": str(python),
            "PYTHONPATH": "src:tests/support",
            "DEPLOY_TARGET": "local",
            "DEPLOY_STATE": str(place / "state"),
            "STAGING_PORT": str(staging.getsockname()[1]),
            "PRODUCTION_PORT": str(production.getsockname()[1]),
        }

    def run(self, *command, code=0):
        ended = subprocess.run(command, cwd=self.work, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ended.returncode != code:
            sys.exit(f"{command} ended with {ended.returncode}, not {code}:\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def call(self, *arguments, code=0):
        return self.run(self.python, *arguments, code=code)

    def deploy(self, *arguments, code=0):
        return self.run("scripts/deploy", *arguments, code=code)

    def gate(self, name, title, *command, code, through=()):
        """Runs a gate with a fresh summary, and keeps it as a picture to be."""
        summary = self.out / f"{name}.md"
        summary.write_text(f"<!-- {title} -->\n")
        self.run(*through, self.python, *command, "--summary", summary, code=code)

    def train(self, directory):
        self.call("src/train.py", "--config", "configs/training_config.yaml")
        (self.work / "models").rename(directory)


def reserve_port():
    """Returns a socket whose port only HAProxy can take as well, because both set SO_REUSEPORT."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def rewrite(path, change):
    """Changes the rows of a file, which are lists of text."""
    header, *rows = csv.reader(path.read_text().splitlines())
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *change(header, rows)])


def misspell(header, rows):
    """What may go wrong where a file is put together by hand."""
    category, amount, country = map(header.index, ("merchant_category", "amount", "country"))
    for row in rows[40:60]:
        row[category] = row[category].replace("grocery", "groceries")
    rows[100][amount] = "-" + rows[100][amount]
    rows[101][amount] = "12,50"
    rows[200][country] = ""
    return [*rows, rows[300]]


def convert(header, rows):
    """Amounts of another currency: each of them is plausible."""
    amount = header.index("amount")
    for row in rows:
        row[amount] = f"{1.6 * float(row[amount]):.2f}"
    return rows


def judge_data(pipeline):
    june = pipeline.work / JUNE
    good = june.read_bytes()
    title = "Validate the data"
    validate = "src/validate_data.py", "--config", "configs/data_expectations.yaml"
    rewrite(june, misspell)
    pipeline.gate("bad-data", title, *validate, code=1)
    june.write_bytes(good)

    rewrite(june, convert)
    pipeline.call(*validate)
    plot = pipeline.out / "drift-plot.png"
    drift = "src/check_drift.py", "--baseline", "data/baseline_stats.json", "--plot", plot
    pipeline.gate("drift", title, *drift, code=1)
    june.write_bytes(good)


def judge_canaries(pipeline):
    june, first, next_, bad = (pipeline.work / JUNE, *(pipeline.place / name for name in ("first", "next", "bad")))
    pipeline.train(first)
    good = june.read_bytes()
    rewrite(june, lambda _, rows: rows[:-20])
    pipeline.train(next_)
    june.write_bytes(good)
    pipeline.call("-c", BRITTLE, first, bad)
    pipeline.deploy("canary", "--model", first)
    pipeline.deploy("promote")
    through = "scripts/deploy", "exec", "production"
    for model, name, code in ((next_, "canary-passed", 0), (bad, "canary-refused", 1)):
        pipeline.deploy("canary", "--model", model)
        pipeline.run(*through, pipeline.python, "src/replay_traffic.py", "--requests", "2500")
        check = "src/check_canary_metrics.py", "--threshold", "0.01", "--minutes", "0.05"
        pipeline.gate(name, "Deploy to production", *check, code=code, through=through)
        pipeline.deploy("rollback")


def main():
    python, out = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="ml-cache-gates-") as place:
        pipeline = Pipeline(Path(python).absolute(), Path(place), Path(out).resolve())
        judge_data(pipeline)
        try:
            judge_canaries(pipeline)
        finally:
            pipeline.deploy("stop")


if __name__ == "__main__":
    os.umask(0o022)
    main()
