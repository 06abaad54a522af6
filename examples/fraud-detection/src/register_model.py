"""Registers a trained model in MLflow, with the digests under which ml-cache keeps it.

python src/register_model.py --run-id "$RUN_ID" --model-name fraud-detector --pointer "$POINTER"

`--pointer` takes the action's output `pointer`, or a file; without it the variable
`MODEL_POINTER` counts. A model is registered once: a run that is repeated finds its version.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from outputs import set_output
from pointer import Pointer, PointerError, read_pointer
from tracking import TrackingError, connect

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register(client: "MlflowClient", run_id: str, name: str, pointer: Pointer) -> str:
    """Returns the version that stands for the pointer's model and this run."""
    client.get_run(run_id)  # an unknown run is an error here, and not a dangling link later
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.run_id == run_id and known.tags.get("ml-cache.manifest") == pointer.manifest:
            return str(known.version)
    version = client.create_model_version(
        name,
        source=pointer.uri,
        run_id=run_id,
        tags={
            "ml-cache.manifest": pointer.manifest,
            "ml-cache.fingerprint": pointer.fingerprint,
            "ml-cache.generation": str(pointer.generation),
        },
    )
    return str(version.version)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Register a trained model in MLflow.")
    parser.add_argument("--run-id", required=True, help="the output `run-id` of the training")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--pointer", default=os.environ.get("MODEL_POINTER"))
    arguments = parser.parse_args(argv)
    if not arguments.pointer:
        parser.error("give --pointer, or set MODEL_POINTER")

    try:
        pointer = read_pointer(arguments.pointer)
        version = register(connect(), arguments.run_id, arguments.model_name, pointer)
    except (TrackingError, PointerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.model_name} version {version}: {pointer.uri}")
    set_output("model-version", version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
