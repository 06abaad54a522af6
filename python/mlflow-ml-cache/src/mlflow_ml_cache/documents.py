"""The documents of a store, and where they lie. Source: docs/formats.md of ml-cache.

All that comes from outside is checked here before anything acts on it.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

MIB = 1 << 20
MAX_POINTER_BYTES = 65_536
MAX_MANIFEST_BYTES = 512 * MIB
MAX_PLAIN_MANIFEST_BYTES = 64 * MIB  # of release 0.1.0; later ones compress what exceeds 1 MiB
MAX_ENTRIES = 1_000_000
MAX_NUMBER = (1 << 53) - 1

HEX = re.compile(r"[0-9a-f]{64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
URI_FORM = (
    "ml-cache://v1/trusted/OWNER/NAME/MODEL/FINGERPRINT/MANIFEST[/PATH], "
    "both digests as 64 hexadecimal digits"
)

# Fields that a pointer must have, that may be null and so may be missing, and that a version adds.
POINTER_FIELDS = frozenset(
    [
        "schema",
        "namespace",
        "model",
        "scope",
        "fingerprint",
        "generation",
        "manifest",
        "inputs",
        "files",
        "bytes",
        "created_at",
        "previous",
        "nonce",
    ]
)
POINTER_NULLABLE = frozenset({"train_seconds", "producer"})
POINTER_ADDED = {
    "ml-cache/pointer/v1": frozenset[str](),
    "ml-cache/pointer/v2": frozenset({"forced", "promotion"}),
    "ml-cache/pointer/v3": frozenset({"forced", "promotion", "metrics"}),
}
# The events of the runs that write the scope `trusted`.
TRUSTED_EVENTS = frozenset(
    ["push", "schedule", "workflow_dispatch", "repository_dispatch", "merge_group"]
)


class MlCacheError(Exception):
    """A model cannot be read."""


class AddressError(MlCacheError):
    """The address, or a path in the model, does not have the right form."""


class NotFoundError(MlCacheError):
    """There is no such model in the store, or no such path in the model."""


class DamagedError(MlCacheError):
    """Stored bytes are missing, or are not those that their digest demands."""


# --------------------------------------------------------------------------------------------------
# Addresses


@dataclass(frozen=True)
class Address:
    """Which model is meant, and which directory or file of it."""

    owner: str
    name: str
    model: str
    fingerprint: str
    """64 hexadecimal digits, as is the manifest."""
    manifest: str
    path: str
    """Relative to the model's tree; empty for the whole tree."""

    @property
    def namespace(self) -> str:
        """The namespace as the pointer spells it."""
        return f"{self.owner}/{self.name}"

    @property
    def home(self) -> str:
        """The place of the model's pointers and second names in the store."""
        parts = (encode(part) for part in (self.owner, self.name, self.model))
        return "v1/trusted/" + "/".join(parts)

    @property
    def pointer_key(self) -> str:
        """The key of the pointer."""
        return f"{self.home}/pointers/{self.fingerprint}.json"

    def below(self, path: str | None) -> str:
        """Returns a path in the model's tree, from a path below this address.

        Raises `AddressError` unless it is a plain relative path.
        """
        joined = "/".join(part for part in (self.path, path or "") if part)
        if joined:
            try:
                check_path(joined)
            except DamagedError as error:
                raise AddressError(str(error)) from None
        return joined


def parse_uri(uri: str) -> Address:
    """Reads an address. Raises `AddressError` if it does not have the form of version 1."""
    parsed = urlsplit(uri)
    if parsed.scheme != "ml-cache":
        raise AddressError(f"{uri!r} is not an address of ml-cache: {URI_FORM}")
    if parsed.netloc != "v1":
        raise AddressError(
            f"{uri!r} has another version than v1, which this package reads: {URI_FORM}."
            " Register the model again, or install a newer mlflow-ml-cache"
        )
    if parsed.query or parsed.fragment:
        raise AddressError(f"{uri!r} has a query or a fragment: {URI_FORM}")
    scope, *rest = parsed.path.strip("/").split("/")
    if scope != "trusted":
        raise AddressError(f"{uri!r} is not of the scope `trusted`: {URI_FORM}")
    if len(rest) < 5 or not all(HEX.fullmatch(digest) for digest in rest[3:5]):
        raise AddressError(f"{uri!r} is incomplete or has no digests: {URI_FORM}")
    owner, name, model = (_decode(uri, part) for part in rest[:3])
    path = "/".join(_decode(uri, part) for part in rest[5:])
    address = Address(owner, name, model, rest[3], rest[4], path)
    address.below(None)  # the path must be one
    return address


def _decode(uri: str, part: str) -> str:
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        text = ""
    # A single spelling for each name, and no slash that stands for itself.
    if not text or _escape(text) != part or len(text.encode()) > 255 or "/" in text:
        raise AddressError(f"{uri!r} has {part!r} for a name, which is not encoded as in a key")
    return text


def encode(text: str) -> str:
    """Returns the component of a key that stands for a name."""
    return shorten(_escape(text), 250)


def _escape(text: str) -> str:
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"._-" else f"%{byte:02X}"
        for byte in text.encode()
    )


def shorten(component: str, limit: int) -> str:
    """Returns the component of at most `limit` bytes that stands for a longer one."""
    if len(component) <= limit:
        return component
    kept = component[: limit - 66]
    if "%" in kept[-2:]:
        kept = kept[: kept.rindex("%")]
    return f"{kept}%-{hashlib.sha256(component.encode()).hexdigest()}"


def blob_key(digest: str) -> str:
    """Returns the shared key of a blob."""
    return f"v1/blobs/{digest[:2]}/{digest}"


def manifest_keys(digest: str, size: int | None) -> list[tuple[str, int]]:
    """Returns where a manifest may lie, each place with the most bytes that are read there.

    A compressed one has a key that ends with `.zst`, and its limit counts unpacked bytes.
    """
    plain = f"v1/manifests/{digest}.json"
    if size is None:
        return [(plain, MAX_PLAIN_MANIFEST_BYTES), (f"{plain}.zst", MAX_MANIFEST_BYTES)]
    return [(f"{plain}.zst", size), (plain, size)] if size > MIB else [(plain, size)]


def second_name(address: Address, key: str) -> str:
    """Returns the name below the model's own place, for where the shared name is occupied."""
    return f"{address.home}/{key.removeprefix('v1/')}"


# --------------------------------------------------------------------------------------------------
# JSON


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a field stands there twice")
    return content


def _no_such_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of the format")


def _load(text: bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(
            text.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_such_number,
            parse_float=_no_such_number,
        )
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{what} is no JSON of the format: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{what} is no JSON object")
    return content


def _fields(
    content: Any, what: str, needed: Iterable[str], allowed: Iterable[str] = ()
) -> dict[str, Any]:
    needed, known = frozenset(needed), frozenset([*needed, *allowed])
    if not isinstance(content, dict) or not needed <= content.keys() <= known:
        raise DamagedError(f"{what} does not have exactly the fields of the format")
    return content


def _number(value: Any, what: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= MAX_NUMBER:
        raise DamagedError(f"{what} is {value!r}, which is no number of the format")
    return value


def _text(value: Any, what: str, pattern: "re.Pattern[str] | None" = None) -> str:
    if not isinstance(value, str) or (pattern and not pattern.fullmatch(value)):
        raise DamagedError(f"{what} is {value!r}, which is no text of the format")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DamagedError(f"{what} is not a list")
    return value


# --------------------------------------------------------------------------------------------------
# Pointers


def manifest_size(text: bytes, address: Address) -> int | None:
    """Returns the size of the address' manifest; `None` where an earlier generation had it.

    Raises `DamagedError` if the text is not the pointer of that address, and `NotFoundError` if
    the pointer does not stand for that manifest: what no trusted run committed is not loaded.
    """
    what = f"the pointer `{address.pointer_key}`"
    content = _load(text, what)
    added = POINTER_ADDED.get(str(content.get("schema")))
    if added is None:
        raise DamagedError(
            f"{what} has the unknown form {content.get('schema')!r};"
            " install a newer mlflow-ml-cache"
        )
    _fields(content, what, POINTER_FIELDS, POINTER_NULLABLE | added)
    asked = {
        "namespace": address.namespace,
        "model": address.model,
        "scope": "trusted",
        "fingerprint": f"sha256:{address.fingerprint}",
    }
    for name, value in asked.items():
        if content[name] != value:
            raise DamagedError(
                f"{what} has the {name} {content[name]!r}, and {value!r} was asked for"
            )
    _check_producer(content, what)
    current = _fields(content["manifest"], f"the manifest of {what}", ("digest", "size"))
    size = _number(current["size"], f"the manifest's size in {what}")
    if size > MAX_MANIFEST_BYTES:
        raise DamagedError(f"{what} has a manifest of {size} bytes")
    wanted = f"sha256:{address.manifest}"
    if _text(current["digest"], f"the manifest of {what}", DIGEST) == wanted:
        return size
    earlier = [
        _fields(entry, f"a generation of {what}", ("generation", "manifest"))["manifest"]
        for entry in _list(content["previous"], f"`previous` of {what}")
    ]
    if wanted in earlier:
        return None
    raise NotFoundError(f"{what} stands for {current['digest']}, and not for {wanted}")


def _check_producer(content: dict[str, Any], what: str) -> None:
    producer = content.get("producer")
    if producer is None:
        return
    event = producer.get("event") if isinstance(producer, dict) else None
    promoted = content.get("promotion") is not None
    if event not in ({"pull_request"} if promoted else TRUSTED_EVENTS):
        raise DamagedError(f"{what} is of the event {event!r}, which writes no trusted models")


# --------------------------------------------------------------------------------------------------
# Manifests


@dataclass(frozen=True)
class Part:
    """A slice of a blob."""

    blob: str
    offset: int
    length: int


@dataclass(frozen=True)
class File:
    """A regular file of a model."""

    size: int
    mode: int
    parts: tuple[Part, ...]


@dataclass
class Manifest:
    """A model's tree, by path."""

    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    dirs: set[str] = field(default_factory=set)
    blobs: dict[str, int] = field(default_factory=dict)
    """The length of every blob."""

    def paths(self) -> Iterator[str]:
        """Yields the path of every entry."""
        yield from self.files
        yield from self.links
        yield from self.dirs


def parse_manifest(text: bytes, digest: str) -> Manifest:
    """Reads a manifest. Raises `DamagedError` if its digest is another, or if it breaks a rule."""
    what = f"the manifest {digest}"
    found = hashlib.sha256(text).hexdigest()
    if found != digest:
        raise DamagedError(f"{what} has other bytes, of the digest {found}")
    content = _load(text, what)
    if content.get("schema") != "ml-cache/manifest/v1":
        raise DamagedError(f"{what} has the unknown form {content.get('schema')!r}")
    _fields(content, what, ("schema", "files", "links", "dirs"))
    manifest = Manifest()
    for entry in _list(content["files"], f"`files` of {what}"):
        _fields(entry, f"a file of {what}", ("path", "size", "mode", "parts"))
        manifest.files[_path(entry["path"], manifest.files, what)] = _file(entry, manifest.blobs)
    for entry in _list(content["links"], f"`links` of {what}"):
        _fields(entry, f"a link of {what}", ("path", "target"))
        path = _path(entry["path"], manifest.links, what)
        check_link(path, _text(entry["target"], f"the target of {path!r}"), path.count("/"))
        manifest.links[path] = entry["target"]
    for entry in _list(content["dirs"], f"`dirs` of {what}"):
        manifest.dirs.add(_path(entry, manifest.dirs, what))
    for paths in (list(manifest.files), list(manifest.links), content["dirs"]):
        encoded = [path.encode() for path in paths]
        if encoded != sorted(encoded):
            raise DamagedError(f"{what} is not in order")
    _check_together(manifest, what)
    return manifest


def _path(value: Any, known: Iterable[str], what: str) -> str:
    path = _text(value, f"a path of {what}")
    check_path(path)
    if path in known:
        raise DamagedError(f"{what} has {path!r} twice")
    return path


def _file(entry: dict[str, Any], blobs: dict[str, int]) -> File:
    path = entry["path"]
    parts = []
    for part in _list(entry["parts"], f"`parts` of {path!r}"):
        _fields(part, f"a part of {path!r}", ("blob", "offset", "length"))
        blob = _text(part["blob"], f"a blob of {path!r}", HEX)
        offset = _number(part["offset"], f"an offset of {path!r}")
        length = _number(part["length"], f"a length of {path!r}", least=1)
        blobs[blob] = max(blobs.get(blob, 0), _number(offset + length, f"an end of {path!r}"))
        parts.append(Part(blob, offset, length))
    size = _number(entry["size"], f"the size of {path!r}")
    if sum(part.length for part in parts) != size:
        raise DamagedError(f"{path!r} has {size} bytes, and its parts have others")
    if entry["mode"] not in ("644", "755"):
        raise DamagedError(f"{path!r} has the mode {entry['mode']!r}")
    return File(size, int(entry["mode"], 8), tuple(parts))


def _check_together(manifest: Manifest, what: str) -> None:
    paths = [unicodedata.normalize("NFC", path) for path in manifest.paths()]
    if len(paths) > MAX_ENTRIES:
        raise DamagedError(f"{what} has more than {MAX_ENTRIES} entries")
    taken = set(paths)
    if len(taken) != len(paths):
        raise DamagedError(f"{what} has a path twice, in two Unicode forms")
    for path in paths:
        at = path.find("/")
        while at != -1:
            if path[:at] in taken:
                raise DamagedError(f"{what} has {path!r} below an entry that is no directory")
            at = path.find("/", at + 1)


def check_path(path: str) -> None:
    """Raises `DamagedError` unless it is a plain relative path that a tree may have."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise DamagedError(f"{path!r} is no Unicode text") from None
    if len(encoded) > 4096 or b"\0" in encoded:
        raise DamagedError(f"{path[:100]!r} is no path: it is too long, or has a zero")
    for component in path.split("/"):
        if component in ("", ".", ".."):
            raise DamagedError(f"{path!r} is no plain relative path")
        if len(component.encode()) > 255 or component.startswith(".ml-cache-tmp-"):
            raise DamagedError(f"{path!r} has a name that no model may have")
        _check_component(component, path)


def check_link(path: str, target: str, room: int) -> None:
    """Raises `DamagedError` if a link may lead higher than `room` directories above its own."""
    try:
        length = len(target.encode())
    except UnicodeEncodeError:
        length = 0
    if not 1 <= length <= 4096 or target.startswith("/") or "\0" in target:
        raise DamagedError(f"the link {path!r} has a target that is absolute or no path")
    named = False
    for component in target.split("/"):
        if component in ("", "."):
            continue
        if component != "..":
            named = True
            _check_component(component, path)
            continue
        room -= 1
        if named or room < 0:
            raise DamagedError(f"the link {path!r} leads out of the directory")


def _check_component(component: str, path: str) -> None:
    # Of ASCII alone: other letters that `lower` folds do not make these names.
    folded = "".join(letter.lower() if letter.isascii() else letter for letter in component)
    if folded in (".git", ".github"):
        raise DamagedError(f"{path!r} touches {component}")
