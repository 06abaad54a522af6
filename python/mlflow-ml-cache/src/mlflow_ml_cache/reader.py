"""Reads a model out of a store into a directory: all that is asked for, or nothing."""

import hashlib
import io
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from mlflow_ml_cache.documents import (
    MAX_POINTER_BYTES,
    DamagedError,
    File,
    Manifest,
    MlCacheError,
    NotFoundError,
    blob_key,
    check_link,
    manifest_keys,
    manifest_size,
    parse_manifest,
    parse_uri,
    second_name,
)
from mlflow_ml_cache.stores import MissingError, Store

# Each holds a blob, which has at most 8 MiB while no file exceeds 64 GiB.
SIDE_BY_SIDE = 8
# No entry of a model may have such a name.
STAGE_PREFIX = ".ml-cache-tmp-"

Content = TypeVar("Content")


class StoredModel:
    """A model of a store, at an address."""

    def __init__(self, uri: str, store: Store) -> None:
        self.address = parse_uri(uri)
        self.store = store

    @cached_property
    def manifest(self) -> Manifest:
        """The model's tree, confirmed by the store's own pointer.

        Raises `NotFoundError` if no trusted run committed this model, and `DamagedError` if a
        document of it is missing or is not what it must be.
        """
        key = self.address.pointer_key
        try:
            text = self.store.read(key, MAX_POINTER_BYTES)
        except MissingError as error:
            raise NotFoundError(f"the model has no pointer in this store: {error}") from None
        if len(text) > MAX_POINTER_BYTES:
            raise DamagedError(f"the pointer `{key}` has more than {MAX_POINTER_BYTES} bytes")
        places = manifest_keys(self.address.manifest, manifest_size(text, self.address))
        places += [(second_name(self.address, key), limit) for key, limit in places]
        return first_good(partial(self._read_manifest, key, limit) for key, limit in places)

    def _read_manifest(self, key: str, limit: int) -> Manifest:
        text = self.store.read(key, limit)
        if key.endswith(".zst"):
            text = unpack(text, limit)
        if len(text) > limit:
            raise DamagedError(f"`{key}` has more than {limit} bytes")
        return parse_manifest(text, self.address.manifest)

    def blob(self, digest: str, length: int) -> bytes:
        """Returns a blob, verified. Raises `DamagedError` if it is nowhere as it must be."""
        shared = blob_key(digest)
        keys = (shared, second_name(self.address, shared))
        return first_good(partial(self._read_blob, key, digest, length) for key in keys)

    def _read_blob(self, key: str, digest: str, length: int) -> bytes:
        content = self.store.read(key, length)
        if len(content) != length:
            found = "more" if len(content) > length else str(len(content))
            raise DamagedError(f"`{key}` has {found} bytes in place of {length}")
        if hashlib.sha256(content).hexdigest() != digest:
            raise DamagedError(f"`{key}` has other bytes than its digest demands")
        return content

    def listing(self, path: str | None) -> dict[str, int | None]:
        """Returns the entries directly below a directory: the size of each, `None` for directories.

        Paths are relative to the address. A file has no entries.
        """
        above = self.address.below(path)
        found: dict[str, int | None] = {}
        for entry in self.manifest.paths():
            rest = below(entry, above)
            if rest:
                name = f"{path}/{rest[0]}" if path else rest[0]
                file = self.manifest.files.get(entry)
                found[name] = (file.size if file else 0) if len(rest) == 1 else None
                if len(rest) == 1 and entry in self.manifest.dirs:
                    found[name] = None
        return dict(sorted(found.items()))

    def download(self, path: str | None, destination: Path) -> Path:
        """Puts a file or a directory of the model below the destination, under its own path.

        Every byte is verified in a hidden directory before anything moves to its place. Returns
        the place. Raises `NotFoundError` if the model has no such path, and `DamagedError` if
        anything is missing or wrong; then nothing new lies at the destination.
        """
        asked, root = self.address.below(path), self.address.below(None)
        chosen = {
            entry: "/".join(below(entry, root) or ())
            for entry in self.manifest.paths()
            if below(entry, asked) is not None
        }
        if not chosen:
            raise NotFoundError(f"the model has nothing at {asked or 'its root'!r}")
        if root in chosen:
            raise NotFoundError(f"{root!r} is a file: the address must name a directory")
        for entry, place in chosen.items():
            if entry in self.manifest.links:
                check_link(entry, self.manifest.links[entry], place.count("/"))
            refuse_obstacle(destination, place, is_dir=entry in self.manifest.dirs)
        with stage_in(destination) as stage:
            self._write(chosen, stage)
            merge(stage, destination)
        return destination / path if path else destination

    def _write(self, chosen: Mapping[str, str], stage: Path) -> None:
        """Writes all chosen entries into the stage, each at its place."""
        files = {place: self.manifest.files.get(entry) for entry, place in chosen.items()}
        for entry, place in chosen.items():
            at = stage / place
            (at if entry in self.manifest.dirs else at.parent).mkdir(parents=True, exist_ok=True)
            file = files[place]
            if file:
                with at.open("xb") as stream:
                    stream.truncate(file.size)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            work = [
                pool.submit(self._write_blob, digest, slices, stage)
                for digest, slices in slices_of(files).items()
            ]
            try:
                for each in work:
                    each.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        umask = current_umask(stage)
        for place, file in files.items():
            # Only the owner may write, and everybody may read who may read a new file here.
            if file:
                (stage / place).chmod(file.mode & ~umask)
        for entry, place in chosen.items():
            # Last, so that nothing is written through a link.
            if entry in self.manifest.links:
                (stage / place).symlink_to(self.manifest.links[entry])

    def _write_blob(
        self, digest: str, slices: list[tuple[str, int, int, int]], stage: Path
    ) -> None:
        content = memoryview(self.blob(digest, self.manifest.blobs[digest]))
        for place, at, offset, length in slices:
            with (stage / place).open("r+b") as stream:
                stream.seek(at)
                stream.write(content[offset : offset + length])


def first_good(reads: Iterator[Callable[[], Content]]) -> Content:
    """Returns the first content that can be read and is right; raises `DamagedError` if none is."""
    faults = []
    for read in reads:
        try:
            return read()
        except (MissingError, DamagedError) as error:
            faults.append(str(error))
    raise DamagedError("; ".join(faults))


def slices_of(files: Mapping[str, File | None]) -> dict[str, list[tuple[str, int, int, int]]]:
    """Returns, for each blob, what to write: place, offset there, offset in the blob, length."""
    slices = defaultdict(list)
    for place, file in files.items():
        at = 0
        for part in file.parts if file else ():
            slices[part.blob].append((place, at, part.offset, part.length))
            at += part.length
    return slices


def below(entry: str, directory: str) -> list[str] | None:
    """Returns an entry's components below a directory; `None` if it lies elsewhere."""
    if entry == directory:
        return []
    if directory and not entry.startswith(f"{directory}/"):
        return None
    return entry[len(directory) :].lstrip("/").split("/")


def unpack(text: bytes, limit: int) -> bytes:
    """Returns what Zstandard frames hold, or its first `limit` + 1 bytes if that is more."""
    try:
        import zstandard
    except ImportError:
        raise MlCacheError(
            "the manifest is large and stored compressed: run `pip install 'mlflow-ml-cache[zstd]'`"
        ) from None
    # A window of at most 8 MiB, as the format has it.
    unpacker = zstandard.ZstdDecompressor(max_window_size=8 << 20)
    try:
        with unpacker.stream_reader(io.BytesIO(text), read_across_frames=True) as stream:
            content: bytes = stream.read(limit + 1)
            return content
    except zstandard.ZstdError as error:
        raise DamagedError(f"the compressed manifest cannot be unpacked: {error}") from None


@contextmanager
def stage_in(destination: Path) -> Iterator[Path]:
    """Yields a hidden directory of the destination, which is gone afterwards."""
    stage = Path(tempfile.mkdtemp(prefix=STAGE_PREFIX, dir=destination))
    try:
        yield stage
    finally:
        shutil.rmtree(stage)


def current_umask(directory: Path) -> int:
    """Returns the bits that a new directory does not get; to ask for the mask would change it."""
    probe = directory / STAGE_PREFIX
    probe.mkdir(exist_ok=True)
    mode = probe.stat().st_mode
    probe.rmdir()
    return 0o777 & ~mode


def refuse_obstacle(destination: Path, place: str, *, is_dir: bool) -> None:
    """Raises `MlCacheError` if a link, or an entry of another kind, is in the way."""
    at = destination
    components = place.split("/")
    for depth, component in enumerate(components, start=1):
        at = at / component
        needs_dir = is_dir or depth < len(components)
        if (needs_dir and at.is_symlink()) or (at.exists() and at.is_dir() != needs_dir):
            raise MlCacheError(f"{at} is in the way; remove it, or choose another destination")


def merge(stage: Path, destination: Path) -> None:
    """Moves everything to its place; each file replaces the file of its name at once."""
    for entry in os.scandir(stage):
        target = destination / entry.name
        if entry.is_dir(follow_symlinks=False) and target.is_dir():
            merge(Path(entry.path), target)
        else:
            Path(entry.path).replace(target)
