"""Tests of the requirements: exact, with hashes, and the same in all files; and of the Python."""

import re

import yaml

from example import EXAMPLE

FILES = sorted(EXAMPLE.glob("requirements*.txt"))


def logical_lines(text: str) -> list[str]:
    """Returns the lines, each with those that it goes on in."""
    return text.replace("\\\n", " ").splitlines()


def test_every_version_is_exact_and_the_same_everywhere() -> None:
    versions: dict[str, set[tuple[str, ...]]] = {}
    for path in FILES:
        for line in logical_lines(path.read_text()):
            if not line or line.startswith(("#", "-r ", "-c ")):
                continue
            pinned = re.fullmatch(
                r"([A-Za-z0-9._-]+)(?:\[\w+\])?"
                r"==([0-9][0-9a-z.]*)((?: +--hash=sha256:[0-9a-f]{64})+)",
                line,
            )
            assert pinned, f"{path.name}: {line}"
            name = re.sub("[._-]+", "-", pinned[1]).lower()
            versions.setdefault(name, set()).add((pinned[2], *sorted(pinned[3].split())))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_job_has_the_trainings_versions() -> None:
    for path in FILES:
        if path.name not in ("requirements.txt", "requirements-gpu.txt", "requirements-test.txt"):
            assert re.search("^-[rc] requirements", path.read_text(), re.MULTILINE), path.name


def test_a_gpu_has_the_same_libraries_but_for_xgboost() -> None:
    def lines(name: str) -> set[str]:
        return {line for line in logical_lines((EXAMPLE / name).read_text()) if "==" in line}

    cpu, gpu = lines("requirements.txt"), lines("requirements-gpu.txt")
    (without,) = cpu - gpu
    assert without.startswith("xgboost-cpu==")
    version = without.split()[0].removeprefix("xgboost-cpu==")
    added = {line.split("==")[0]: line.split()[0].split("==")[1] for line in gpu - cpu}
    assert added.keys() == {"xgboost", "nvidia-nccl-cu12"}
    assert added["xgboost"] == version


def test_whatever_installs_them_compares_their_hashes() -> None:
    workflows = sorted((EXAMPLE / ".github/workflows").glob("*.yml"))
    assert len(workflows) == 3
    for path in [*workflows, EXAMPLE / "Dockerfile", EXAMPLE / "Makefile"]:
        commands = re.findall(r"pip install .*", path.read_text())
        assert commands, path.name
        for command in commands:
            assert "--require-hashes" in command, f"{path.name}: {command}"


def test_another_python_is_another_model() -> None:
    python = yaml.safe_load((EXAMPLE / "ml-cache.yml").read_text())["defaults"]["extra"]["python"]
    workflow = yaml.safe_load((EXAMPLE / ".github/workflows/ml-pipeline.yml").read_text())
    assert workflow["env"]["PYTHON_VERSION"] == python
    for name in ("deploy.yml", "rollback.yml"):
        text = (EXAMPLE / ".github/workflows" / name).read_text()
        assert re.findall(r'python-version: "(.*?)"', text) == [python]
