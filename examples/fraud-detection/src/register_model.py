"""Registers a trained model in MLflow, with the digests under which ml-cache keeps it.

python src/register_model.py --model-name fraud-detector --pointer "$POINTER" --run-id "$RUN_ID"
python src/register_model.py --model-name fraud-detector --pointer "$POINTER" --alias production \
    --experiment-name fraud-detection

`--pointer` takes the action's output `pointer`, or a file; without it the variable
`MODEL_POINTER` counts. A model is registered once: whoever comes later, with or without the
training's run, finds its version by the manifest's digest. Only models of the scope `trusted`
are registered.

A registered version names the model in the store, and no copy of it. The package mlflow-ml-cache
lets MLflow load it: mlflow.pyfunc.load_model("models:/fraud-detector@production").
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from outputs import set_output
from pointer import Pointer, PointerError, read_pointer
from tracking import MlflowException, TrackingError, connect, errors_in_one_line, run_page

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_PATH = "models"


def register(
    client: "MlflowClient",
    name: str,
    pointer: Pointer,
    run_id: str | None = None,
    experiment: str | None = None,
    path: str = MODEL_PATH,
) -> int:
    """Returns the version that stands for the pointer's model; makes it if there is none."""
    known = find_version(client, name, pointer)
    if known is not None:
        return known
    run_id = run_id or (find_run(client, experiment, pointer) if experiment else None)
    if run_id:
        client.get_run(run_id)  # an unknown run is an error here, and not a dangling link later
    else:
        print("note: the training's run is not known; the version has none", file=sys.stderr)
    ensure_model(client, name)
    made = client.create_model_version(
        name,
        source=pointer.uri(path),
        run_id=run_id,
        tags={
            "ml-cache.manifest": pointer.manifest,
            "ml-cache.fingerprint": pointer.fingerprint,
            "ml-cache.generation": str(pointer.generation),
        },
    )
    # Another job may have made one in the same moment: to all of them, the oldest counts.
    oldest = find_version(client, name, pointer)
    if oldest is None or oldest == int(made.version):
        return int(made.version)
    client.delete_model_version(name, str(made.version))
    return oldest


def find_version(client: "MlflowClient", name: str, pointer: Pointer) -> int | None:
    """Returns the oldest version with the pointer's manifest, which means: with its bytes.

    Another training that ended in the same bytes, of another generation or another fingerprint,
    made the same model.
    """
    return min(versions_of(client, name, pointer), default=None)


def versions_of(client: "MlflowClient", name: str, pointer: Pointer) -> Iterator[int]:
    """Yields the versions with the pointer's manifest, from all pages of the answer."""
    wanted = f"name = '{name}' and tags.`ml-cache.manifest` = '{pointer.manifest}'"
    token = None
    while True:
        page = client.search_model_versions(
            wanted, order_by=["version_number ASC"], page_token=token
        )
        yield from (int(version.version) for version in page)
        token = page.token
        if not token:
            return


def find_run(client: "MlflowClient", experiment: str, pointer: Pointer) -> str | None:
    """Returns the finished run of the training that made the pointer's model.

    Where a workflow trained it, only that attempt of the workflow's run counts: others may have
    trained from the same inputs and ended in other bytes.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    tags = {"ml-cache.fingerprint": pointer.fingerprint}
    if pointer.trained_by:
        workflow_run, attempt = pointer.trained_by
        tags |= {"github.run_id": str(workflow_run), "github.run_attempt": str(attempt)}
    wanted = [f"tags.`{tag}` = '{value}'" for tag, value in tags.items()]
    runs = client.search_runs(
        [found.experiment_id],
        " and ".join(["attributes.status = 'FINISHED'", *wanted]),
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(runs[0].info.run_id) if runs else None


def ensure_model(client: "MlflowClient", name: str) -> None:
    """Makes the registered model, of which versions are versions."""
    if client.search_registered_models(f"name = '{name}'"):
        return
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another job was faster
            raise


def set_alias(client: "MlflowClient", name: str, alias: str, version: int) -> None:
    """Lets the alias name the version, and says which one it named before."""
    before = client.get_registered_model(name).aliases.get(alias)
    if before is not None and int(before) == version:
        print(f"{alias}: version {version}, as before")
        return
    client.set_registered_model_alias(name, alias, str(version))
    print(f"{alias}: version {version}, before it {before or 'none'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Register a trained model in MLflow.")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--pointer", default=os.environ.get("MODEL_POINTER"))
    parser.add_argument(
        "--model-path",
        default=MODEL_PATH,
        help="the directory in the stored model that has the file MLmodel",
    )
    parser.add_argument("--run-id", help="the output `run-id` of the training, if there was one")
    parser.add_argument(
        "--experiment-name", help="without --run-id, look here for the training's run"
    )
    parser.add_argument("--alias", help="let this alias, such as `production`, name the version")
    arguments = parser.parse_args(argv)
    if not arguments.pointer:
        parser.error("give --pointer, or set MODEL_POINTER")

    try:
        pointer = read_pointer(arguments.pointer)
        if pointer.scope != "trusted":
            raise PointerError(f"a model of the scope `{pointer.scope}` is not registered")
        with errors_in_one_line():
            client, name = connect(), arguments.model_name
            version = register(
                client,
                name,
                pointer,
                arguments.run_id,
                arguments.experiment_name,
                arguments.model_path,
            )
            print(f"{name} version {version}: {pointer.uri(arguments.model_path)}")
            if arguments.alias:
                set_alias(client, name, arguments.alias, version)
            run_id = client.get_model_version(name, str(version)).run_id
            page = run_page(client, run_id) if run_id else ""
    except (TrackingError, PointerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    set_output("model-version", str(version))
    set_output("run-url", page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
