"""Reads the pointer that ml-cache gives out: which model this is, by digest."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PointerError(ValueError):
    """The text is not a pointer."""


@dataclass(frozen=True)
class Pointer:
    """The part of a pointer that consumers of a model need."""

    namespace: str
    model: str
    scope: str
    fingerprint: str
    generation: int
    manifest: str
    trained_by: tuple[int, int] | None
    """The run of GitHub Actions, and its attempt; `None` elsewhere."""

    def uri(self, path: str) -> str:
        """Names a directory of the stored model, and no bucket, as the pointer itself does.

        The package mlflow-ml-cache reads it. With the fingerprint, a reader finds the pointer in
        its own store, and sees there that a trusted run committed these bytes.
        """
        names = [*self.namespace.split("/"), self.model]
        digests = [text.removeprefix("sha256:") for text in (self.fingerprint, self.manifest)]
        parts = [self.scope, *names, *digests, *path.strip("/").split("/")]
        return "ml-cache://v1/" + "/".join(component(part) for part in parts)


def component(text: str) -> str:
    """Returns a name as it stands in a key of the store."""
    return quote(text, safe="").replace("~", "%7E")


def read_pointer(source: str) -> Pointer:
    """Reads a pointer from its JSON, as in the action's output, or from a file."""
    text = read_text(source)
    try:
        content: dict[str, Any] = json.loads(text)
        producer = content.get("producer")
        pointer = Pointer(
            namespace=str(content["namespace"]),
            model=str(content["model"]),
            scope=str(content["scope"]),
            fingerprint=str(content["fingerprint"]),
            generation=int(content["generation"]),
            manifest=str(content["manifest"]["digest"]),
            trained_by=(
                (int(producer["run_id"]), int(producer["run_attempt"])) if producer else None
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PointerError(f"not a pointer of ml-cache: {text[:80]!r} ({error!r})") from error
    for digest in (pointer.fingerprint, pointer.manifest):
        if not DIGEST.fullmatch(digest):
            raise PointerError(f"{digest!r} is not a digest such as `sha256:9f86…`")
    return pointer


def read_text(source: str) -> str:
    """Returns the JSON itself."""
    if source.lstrip().startswith("{"):
        return source
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise PointerError(f"cannot read the pointer: {error}") from error
