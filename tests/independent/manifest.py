#!/usr/bin/env python3
"""Builds a model's manifest by docs/formats.md alone, sharing no code with ml-cache.

    manifest.py --workspace DIR [--out FILE] PATH…

Each PATH is a file, a link or a directory, relative to the workspace; a directory stands for all below it. Prints one
JSON object: "manifest-digest", "files" and "bytes" (of the regular files), and "blobs", the names of all blobs in the
order of first use. --out writes the manifest's bytes. A tree that no manifest can hold ends it with status 1.

It exists to disagree: a test runs it beside the real program on the same tree. It needs nothing but Python 3.11.
"""

import argparse
import hashlib
import json
import os
import stat
import sys
import unicodedata

MIB = 1 << 20
MAX_ENTRIES = 1_000_000
MAX_BYTES = 512 * MIB


class BadModel(Exception):
    """The tree cannot be described by a manifest."""


# ---------------------------------------------------------------------------------------------------------------------
# What is on disk

class Tree:
    """Regular files as {path: (size, mode)}, links as {path: target}, and empty directories."""

    def __init__(self, workspace: str):
        self.workspace = workspace
        self.files: dict[str, tuple[int, str]] = {}
        self.links: dict[str, str] = {}
        self.dirs: set[str] = set()

    def add(self, path: bytes):
        """Adds what is at the path, and all below it where that is a directory."""
        last = path.rsplit(b"/", 1)[-1]
        if last.lower() == b".git" or last.startswith(b".ml-cache-tmp-"):
            return
        full = os.path.join(os.fsencode(self.workspace), path)
        name = self.text(path)
        status = os.lstat(full)
        if stat.S_ISDIR(status.st_mode):
            entries = os.listdir(full)
            for entry in entries:
                self.add(path + b"/" + entry if path else entry)
            if not entries and name:
                check_path(name)
                self.dirs.add(name)
            return
        check_path(name)
        if stat.S_ISLNK(status.st_mode):
            target = self.text(os.readlink(full))
            check_link(name, target)
            self.links[name] = target
        elif stat.S_ISREG(status.st_mode):
            self.files[name] = (status.st_size, "755" if status.st_mode & 0o100 else "644")
        else:
            raise BadModel(f"{name!r} is neither a file, a link nor a directory")

    @staticmethod
    def text(name: bytes) -> str:
        try:
            return name.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadModel(f"{name!r} is not UTF-8") from error

    def check_together(self):
        paths = [*self.files, *self.links, *self.dirs]
        if len(paths) > MAX_ENTRIES:
            raise BadModel(f"there are more than {MAX_ENTRIES} entries")
        normal = set()
        for path in paths:
            name = unicodedata.normalize("NFC", path)
            if name in normal:
                raise BadModel(f"{path!r} is there twice, in two Unicode forms")
            normal.add(name)
        for path in paths:
            components = unicodedata.normalize("NFC", path).split("/")
            for length in range(1, len(components)):
                if "/".join(components[:length]) in normal:
                    raise BadModel(f"{path!r} lies below what is no directory in one of its Unicode forms")


def check_path(path: str):
    if len(path.encode()) > 4096:
        raise BadModel(f"{path!r} has more than 4,096 bytes")
    for component in path.split("/"):
        if component in ("", ".", ".."):
            raise BadModel(f"{path!r} is not a plain relative path")
        if len(component.encode()) > 255:
            raise BadModel(f"{path!r} has a component of more than 255 bytes")
        check_component(component, path)


def check_component(component: str, path: str):
    # ASCII only: other letters that lower() would fold do not make `.git`.
    folded = "".join(c.lower() if c.isascii() else c for c in component)
    if folded in (".git", ".github"):
        raise BadModel(f"{path!r} touches {component}")
    if "\0" in component:
        raise BadModel(f"{path!r} has a NUL")


def check_link(path: str, target: str):
    if target == "" or len(target.encode()) > 4096:
        raise BadModel(f"the link {path!r} has no usable target")
    if target.startswith("/"):
        raise BadModel(f"the link {path!r} is absolute")
    room, named = path.count("/"), False
    for component in target.split("/"):
        if component in ("", "."):
            continue
        if component == "..":
            if named:
                raise BadModel(f"the link {path!r} climbs after it named something")
            room -= 1
            if room < 0:
                raise BadModel(f"the link {path!r} leads outside the tree")
        else:
            named = True
            check_component(component, path)


# ---------------------------------------------------------------------------------------------------------------------
# Blobs

def chunk_size(size: int) -> int:
    chunk = 8 * MIB
    while -(-size // chunk) > 8192:
        chunk *= 2
    return chunk


def ends_pack(path: str) -> bool:
    return hashlib.sha256(path.encode()).digest()[0] < 8


def cut(files: list[tuple[str, int]]) -> list[list[tuple[str, int, int]]]:
    """Returns the blobs, each as a list of slices (path, offset in the file, length)."""
    blobs, pack, packed = [], [], 0
    for path, size in files:
        if size == 0:
            continue
        if size > 4 * MIB:
            chunk = chunk_size(size)
            for offset in range(0, size, chunk):
                blobs.append([(path, offset, min(chunk, size - offset))])
            continue
        if pack and packed + size > 8 * MIB:
            blobs.append(pack)
            pack, packed = [], 0
        pack.append((path, 0, size))
        packed += size
        if packed >= 2 * MIB and ends_pack(path):
            blobs.append(pack)
            pack, packed = [], 0
    if pack:
        blobs.append(pack)
    return blobs


def hash_slices(workspace: str, slices: list[tuple[str, int, int]]) -> str:
    digest = hashlib.sha256()
    for path, offset, length in slices:
        with open(os.path.join(workspace, path), "rb") as stream:
            stream.seek(offset)
            while length:
                block = stream.read(min(length, MIB))
                if not block:
                    raise BadModel(f"{path!r} became shorter while it was read")
                digest.update(block)
                length -= len(block)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# JSON

SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def quote(text: str) -> str:
    out = []
    for c in text:
        if c in SHORT_ESCAPES:
            out.append(SHORT_ESCAPES[c])
        elif c < " ":
            out.append(f"\\u{ord(c):04x}")
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def manifest_bytes(tree: Tree) -> tuple[bytes, list[str]]:
    def in_order(paths):
        return sorted(paths, key=lambda path: path.encode())

    paths = in_order(tree.files)
    parts: dict[str, list[str]] = {path: [] for path in paths}
    named: dict[str, list[str]] = {path: [] for path in paths}
    for slices in cut([(path, tree.files[path][0]) for path in paths]):
        blob, at = hash_slices(tree.workspace, slices), 0
        for path, _, length in slices:
            parts[path].append(f'{{"blob":"{blob}","offset":{at},"length":{length}}}')
            named[path].append(blob)
            at += length
    files = [
        f'{{"path":{quote(path)},"size":{tree.files[path][0]},"mode":"{tree.files[path][1]}",'
        f'"parts":[{",".join(parts[path])}]}}'
        for path in paths
    ]
    links = [f'{{"path":{quote(path)},"target":{quote(tree.links[path])}}}' for path in in_order(tree.links)]
    dirs = [quote(path) for path in in_order(tree.dirs)]
    text = (
        f'{{"schema":"ml-cache/manifest/v1","files":[{",".join(files)}],'
        f'"links":[{",".join(links)}],"dirs":[{",".join(dirs)}]}}'
    )
    if len(text.encode()) > MAX_BYTES:
        raise BadModel("the manifest would be larger than 512 MiB")
    blobs = list(dict.fromkeys(blob for path in paths for blob in named[path]))
    return text.encode(), blobs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", default=".")
    parser.add_argument("--out")
    parser.add_argument("paths", nargs="+")
    options = parser.parse_args()
    tree = Tree(options.workspace)
    try:
        for path in options.paths:
            components = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
            if path.startswith("/") or b".." in components:
                raise BadModel(f"{path!r} is not below the workspace")
            for length in range(1, len(components)):
                parent = os.path.join(os.fsencode(options.workspace), *components[:length])
                if os.path.islink(parent):
                    raise BadModel(f"{path!r} leads through a link")
            tree.add(b"/".join(components))
        tree.check_together()
        text, blobs = manifest_bytes(tree)
    except (BadModel, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.out:
        with open(options.out, "wb") as stream:
            stream.write(text)
    print(json.dumps({
        "manifest-digest": "sha256:" + hashlib.sha256(text).hexdigest(),
        "files": len(tree.files),
        "bytes": sum(size for size, _ in tree.files.values()),
        "blobs": blobs,
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
