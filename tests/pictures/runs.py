"""Runs the action on the example as a runner does, and keeps the job summaries that it writes.

    runs.py BINARY PYTHON OUT

Every job of the story has a fresh checkout of examples/fraud-detection and the same store; the training between the
steps is the example's own. The artifact service is the tests' double of GitHub. OUT gets one Markdown file a job.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/fraud-detection"
REPOSITORY = "acme/fraud-detection"
INPUTS = {
    "config": "none",
    "model": "fraud-detector",
    "model-path": "models/",
    "data-paths": "data/training/**",
    "training-paths": "src/train.py\nsrc/model/**\nconfigs/training_config.yaml\nrequirements.txt",
    "extra-key": "python=3.11",
}
TITLES = {"train": "Train or restore", "deploy": "Deploy to production"}


class Double:
    """The tests' double of GitHub, for as long as this program runs."""

    def __init__(self):
        command = [sys.executable, ROOT / "tests/double/github.py", "--port", "0", "--until-stdin-closes"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def job(self, run_id, job):
        """The variables that a runner gives to every step of a job."""
        body = {"repository": REPOSITORY, "run_id": run_id, "attempt": 1, "job": job}
        request = urllib.request.Request(f"{self.url}/_control/runtime-token", json.dumps(body).encode())
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)["env"]


class Job:
    """One job on a machine of its own."""

    def __init__(self, story, name, sha, event="push", actor="hubot"):
        self.story, self.name = story, name
        story.run_id += event != "same run"
        self.place = Path(tempfile.mkdtemp(dir=story.place))
        self.work, self.summary = self.place / "work", self.place / "summary.md"
        self.summary.touch()
        shutil.copytree(story.checkout, self.work)
        for name_ in ("temp", "bin", "home"):
            (self.place / name_).mkdir()
        payload = {"repository": {"id": 4242, "full_name": REPOSITORY, "default_branch": "main"}}
        (self.place / "event.json").write_text(json.dumps(payload))
        self.env = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_REPOSITORY_ID": "4242",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_SHA": sha,
            "GITHUB_EVENT_NAME": "push" if event == "same run" else event,
            "GITHUB_TRIGGERING_ACTOR": actor,
            "GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/train.yml@refs/heads/main",
            "GITHUB_RUN_ID": str(story.run_id),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": name,
            "GITHUB_WORKSPACE": str(self.work),
            "GITHUB_EVENT_PATH": str(self.place / "event.json"),
            "RUNNER_TEMP": str(self.place / "temp"),
            "HOME": str(self.place / "home"),
            **story.double.job(story.run_id, name),
        }
        self.state = {}

    def step(self, phase, **inputs):
        """Runs a step of the action, and returns its outputs."""
        executable = self.place / "bin" / f"ml-cache-{phase}"
        if not executable.exists():
            executable.symlink_to(self.story.binary)
        given = INPUTS | {"store": f"file://{self.story.place}/store"}
        given |= {key.replace("_", "-"): value for key, value in inputs.items()}
        env = self.env | {f"INPUT_{name.upper()}": value for name, value in given.items()} | self.state
        files = {name: self.place / name for name in ("OUTPUT", "STATE", "STEP_SUMMARY")}
        for name, path in files.items():
            path.write_text("")
            env[f"GITHUB_{name}"] = str(path)
        subprocess.run([executable], env=env, cwd=self.work, check=True, stdin=subprocess.DEVNULL)
        with self.summary.open("a") as summary:
            summary.write(files["STEP_SUMMARY"].read_text())
        self.state = {f"STATE_{name}": value for name, value in entries(files["STATE"].read_text())}
        return dict(entries(files["OUTPUT"].read_text()))

    def train(self):
        command = [self.story.python, "src/train.py", "--config", "configs/training_config.yaml"]
        subprocess.run(command, cwd=self.work, check=True, stdout=subprocess.DEVNULL)

    def keep(self, name):
        title = f"<!-- {TITLES[self.name]} -->\n"
        (self.story.out / f"{name}.md").write_text(title + self.summary.read_text())


class Story:
    def __init__(self, binary, python, out):
        self.binary, self.python, self.out = Path(binary).resolve(), python, Path(out)
        self.run_id = 1000
        self.double = Double()


def entries(text):
    """Reads GITHUB_OUTPUT or GITHUB_STATE, in the one form that the action writes."""
    lines = iter(text.splitlines())
    for line in lines:
        name, delimiter = line.split("<<", 1)
        value = []
        while (part := next(lines)) != delimiter:
            value.append(part)
        yield name, "\n".join(value)


def expect(outputs, **wanted):
    found = {name: outputs[name.replace("_", "-")] for name in wanted}
    if found != wanted:
        sys.exit(f"a run did not go as the pictures are to show it: {found}, not {wanted}")


def tell(story):
    job = Job(story, "train", "6f1e2d3c4b5a69788796a5b4c3d2e1f001122334")
    expect(job.step("main"), retrain_needed="true", reason="no-model")
    job.train()
    job.step("post")
    job.keep("first-training")

    job = Job(story, "train", "0b8d1f7c2e6a4953b1c0d9e8f7a6b5c4d3e2f101")
    expect(job.step("main"), retrain_needed="false", reason="hit", restored="true")
    job.step("post")
    job.keep("hit")

    data = story.checkout / "data/training"
    january, june = data / "transactions-2024-01.csv", data / "transactions-2024-06.csv"
    rows = january.read_text().splitlines()
    rows[1] = ",".join([*rows[1].split(",")[:5], "999.99", *rows[1].split(",")[6:]])
    january.write_text("\n".join(rows) + "\n")
    june.rename(data / "transactions-2024-06-final.csv")
    job = Job(story, "train", "c4d3e2f10b8d1f7c2e6a4953b1c0d9e8f7a6b5a0")
    expect(job.step("main"), retrain_needed="true", reason="data-changed")
    job.train()
    job.step("post")
    job.keep("data-changed")

    sha = "9a8b7c6d5e4f30211203f4e5d6c7b8a99a8b7c6d"
    job = Job(story, "train", sha, event="workflow_dispatch", actor="octocat")
    expect(job.step("main", force_retrain="true"), retrain_needed="true", reason="forced")
    job.train()
    job.step("post", force_retrain="true")
    job.keep("forced")

    job = Job(story, "deploy", sha, event="same run")
    paths = {"data_paths": "", "training_paths": "", "extra_key": ""}
    expect(job.step("restore", **paths), restored="true")
    job.keep("deploy")


def main():
    binary, python, out = sys.argv[1:]
    story = Story(binary, python, out)
    with tempfile.TemporaryDirectory(prefix="ml-cache-pictures-") as place:
        story.place = Path(place)
        story.checkout = story.place / "checkout"
        ignored = shutil.ignore_patterns("models", ".venv", "*_cache", "__pycache__")
        shutil.copytree(EXAMPLE, story.checkout, ignore=ignored)
        tell(story)


if __name__ == "__main__":
    os.umask(0o022)
    main()
