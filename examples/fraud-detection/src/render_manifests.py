"""Writes Kubernetes manifests for one model: with its pointer and the serving image.

python src/render_manifests.py --pointer "$POINTER" --image "$IMAGE" --output DIR k8s/staging/*.yaml

The pointer becomes an annotation of the pods, which they see as a file. Unlike a ConfigMap that
is changed in place, it belongs to a revision of the Deployment: a pod that starts again gets the
model of its own revision, and `kubectl rollout undo` goes back to the pointer before.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pointer import PointerError, read_pointer, read_text

ANNOTATION = "ml-cache/pointer"
CONTAINER = "serve"


def render(manifest: dict[str, Any], pointer: str, image: str) -> dict[str, Any]:
    """Returns the manifest, with a Deployment filled in and everything else as it is."""
    if manifest["kind"] == "Deployment":
        template = manifest["spec"]["template"]
        annotations = template["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = json.dumps(json.loads(pointer), separators=(",", ":"))
        for container in template["spec"]["containers"]:
            if container["name"] == CONTAINER:
                container["image"] = image
    return manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the manifests for one model.")
    parser.add_argument("--pointer", required=True, help="pointer of ml-cache: its JSON, or a file")
    parser.add_argument("--image", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("manifests", type=Path, nargs="+")
    arguments = parser.parse_args(argv)
    try:
        read_pointer(arguments.pointer)
        pointer = read_text(arguments.pointer)
    except PointerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in arguments.manifests:
        manifests = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        rendered = [render(manifest, pointer, arguments.image) for manifest in manifests]
        text = yaml.safe_dump_all(rendered, sort_keys=False)
        (arguments.output / path.name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
