"""Writes Kubernetes manifests for one model: with its pointer and the serving image.

python src/render_manifests.py --pointer "$POINTER" --image "$IMAGE" --output DIR k8s/staging/*.yaml

The store and its region are arguments too, or else ML_CACHE_STORE and AWS_REGION; whose model it is
says the pointer. What the manifests have in their places are examples. With S3_ENDPOINT_URL
the pods must have been given a variable for it, and keys.

The pointer becomes an annotation of the pods, which they see as a file. Unlike a ConfigMap that
is changed in place, it belongs to a revision of the Deployment: a pod that starts again gets the
model of its own revision, and `kubectl rollout undo` goes back to the pointer before.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pointer import PointerError, read_pointer, read_text

ANNOTATION = "ml-cache/pointer"
ORDER = "ml-cache/order"
ENDPOINT = "AWS_ENDPOINT_URL"
CONTAINER = "serve"


def render(
    manifest: dict[str, Any], pointer: str, image: str, settings: Mapping[str, str], order: str
) -> dict[str, Any]:
    """Returns the manifest, with what is known of one model and one deployment filled in."""
    if manifest["kind"] == "Deployment":
        if order:
            manifest["metadata"].setdefault("annotations", {})[ORDER] = order
        template = manifest["spec"]["template"]
        annotations = template["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = json.dumps(json.loads(pointer), separators=(",", ":"))
        for container in template["spec"]["initContainers"] + template["spec"]["containers"]:
            if container["name"] == CONTAINER:
                container["image"] = image
            for variable in container.get("env", []):
                if variable["name"] in settings:
                    variable["value"] = settings[variable["name"]]
    return manifest


def takes(manifest: Mapping[str, Any], name: str) -> bool:
    """Returns whether what restores the model has a variable of this name."""
    if manifest["kind"] != "Deployment":
        return True
    containers = manifest["spec"]["template"]["spec"]["initContainers"]
    return any(name == each["name"] for one in containers for each in one.get("env", []))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the manifests for one model.")
    parser.add_argument("--pointer", required=True, help="pointer of ml-cache: its JSON, or a file")
    parser.add_argument("--image", required=True)
    parser.add_argument("--store", default=os.environ.get("ML_CACHE_STORE"))
    parser.add_argument("--region", default=os.environ.get("AWS_REGION"))
    parser.add_argument("--endpoint-url", default=os.environ.get("S3_ENDPOINT_URL"))
    parser.add_argument("--order", default="", help="number of the run that deploys")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("manifests", type=Path, nargs="+")
    arguments = parser.parse_args(argv)
    if not arguments.store:
        print("error: set ML_CACHE_STORE to where the pods find their models", file=sys.stderr)
        return 1
    if not arguments.region:
        print("error: set AWS_REGION to the region of the store", file=sys.stderr)
        return 1
    try:
        namespace = read_pointer(arguments.pointer).namespace
        pointer = read_text(arguments.pointer)
    except PointerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    settings = {
        "ML_CACHE_STORE": arguments.store,
        "AWS_REGION": arguments.region,
        "MODEL_NAMESPACE": namespace,
    }
    if arguments.endpoint_url:
        settings[ENDPOINT] = arguments.endpoint_url
    found = {
        path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        for path in arguments.manifests
    }
    for name, manifests in found.items():
        if ENDPOINT in settings and not all(takes(manifest, ENDPOINT) for manifest in manifests):
            print(
                f"error: the store is at {arguments.endpoint_url}, not at AWS, "
                f"and the pods of {name} would get neither this address nor keys; "
                f"give their init container {ENDPOINT} and its keys (docs/reference.md, A cluster)",
                file=sys.stderr,
            )
            return 1
    for name, manifests in found.items():
        rendered = [
            render(manifest, pointer, arguments.image, settings, arguments.order)
            for manifest in manifests
        ]
        text = yaml.safe_dump_all(rendered, sort_keys=False)
        (arguments.output / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
