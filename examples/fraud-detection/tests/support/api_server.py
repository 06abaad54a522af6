"""What a cluster's API server refuses, in its own words; the stand-in for kubectl asks here.

`kubectl apply` lets the server check every field. Besides, an object needs its namespace, a change
that names a `resourceVersion` must be of the newest one, and a selector never changes.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

VERSION = "1.37"
OBJECT = "io.k8s.api.apps.v1.Deployment"

Known = dict[str, dict[str, str | None]]
Revisions = dict[str, list[dict[str, Any]]]


@cache
def known_fields() -> Known:
    """Returns the fields of every type that a Deployment has, each with the type of its value.

    `None` stands for a value without fields that are known, such as a text or labels.
    """
    import kubernetes_validate

    schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    path = schemas / f"v{VERSION}.0-local-strict" / "_definitions.json"
    definitions = json.loads(path.read_text(encoding="utf-8"))["$defs"]
    known: Known = {}
    waiting = [OBJECT]
    while waiting:
        name = waiting.pop()
        if name in known or "properties" not in definitions[name]:
            continue
        known[name] = {
            field: _type_of(schema) for field, schema in definitions[name]["properties"].items()
        }
        waiting += [each for each in known[name].values() if each]
    return known


def _type_of(schema: dict[str, Any]) -> str | None:
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref")
    return reference.rpartition("/")[2] if reference else None


def unknown_fields(
    value: object, known: Known, name: str | None = OBJECT, path: str = ""
) -> Iterator[str]:
    """Yields the path of every field that no API server knows."""
    if name not in known:
        return
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from unknown_fields(item, known, name, f"{path}[{place}]")
    if isinstance(value, dict):
        for field, inner in value.items():
            below = f"{path}.{field}".removeprefix(".")
            if field in known[name]:
                yield from unknown_fields(inner, known, known[name][field], below)
            else:
                yield below


def refusal(
    cluster: Path, namespace: str, arguments: list[str], manifests: list[dict[str, Any]]
) -> str | None:
    """Returns what the server answers in place of doing it; `None` if it does it."""
    for manifest in manifests:
        if refused := _refused_manifest(cluster, namespace, manifest):
            return refused
    match [each for each in arguments if not each.startswith("--")]:
        case ["rollout", "undo", name] | ["annotate" | "patch" | "delete", name, *_]:
            if "--ignore-not-found" not in arguments:
                return _refused_change(cluster, namespace, name, _version(arguments))
    return None


def _refused_manifest(cluster: Path, namespace: str, manifest: dict[str, Any]) -> str | None:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    unknown = list(unknown_fields(manifest, _read(cluster, "fields")))
    if unknown:
        fields = ", ".join(f'unknown field "{path}"' for path in unknown)
        return (
            f'Error from server (BadRequest): {kind} in version "v1" cannot be handled as a'
            f" {kind}: strict decoding error: {fields}"
        )
    if namespace not in _read(cluster, "namespaces"):
        return f'Error from server (NotFound): namespaces "{namespace}" not found'
    selector = manifest["spec"]["selector"]["matchLabels"]
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    invalid = f'The {kind} "{name}" is invalid: spec'
    if not selector.items() <= labels.items():
        return f"{invalid}.template.metadata.labels: `selector` does not match template `labels`"
    before = _deployed(cluster, namespace, name)
    if before and before["spec"]["selector"]["matchLabels"] != selector:
        return f"{invalid}.selector: Invalid value: field is immutable"
    version = manifest["metadata"].get("resourceVersion")
    return _refused_change(cluster, namespace, name, version) if before or version else None


def _refused_change(cluster: Path, namespace: str, name: str, version: str | None) -> str | None:
    bare = name.removeprefix("deployment/")
    if _deployed(cluster, namespace, bare) is None:
        return f'Error from server (NotFound): deployments.apps "{bare}" not found'
    if version is not None and version != resource_version(cluster, f"{namespace}/{bare}"):
        return (
            "Error from server (Conflict): Operation cannot be fulfilled on"
            f' deployments.apps "{bare}": the object has been modified; please apply your changes'
            " to the latest version and try again"
        )
    return None


def _version(arguments: list[str]) -> str | None:
    given = (each.partition("=") for each in arguments)
    return next((value for flag, _, value in given if flag == "--resource-version"), None)


def _deployed(cluster: Path, namespace: str, name: str) -> dict[str, Any] | None:
    revisions: Revisions = _read(cluster, "deployments")
    known = revisions.get(f"{namespace}/{name}")
    return known[-1] if known else None


def resource_version(cluster: Path, name: str) -> str:
    """Returns the `resourceVersion` of an object, which every change of it makes another."""
    return str(_read(cluster, "versions").get(name, 0))


def count_changes(cluster: Path, before: Revisions, after: Revisions) -> None:
    """Gives every changed object the next `resourceVersion`."""
    versions = _read(cluster, "versions")
    changed = [name for name in after if after[name] != before.get(name)]
    if changed:
        versions |= {name: max(versions.values(), default=0) + 1 for name in changed}
        (cluster / "versions.json").write_text(json.dumps(versions))


def _read(cluster: Path, name: str) -> Any:
    path = cluster / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
