#!/usr/bin/env python3
"""Computes the fingerprint of a workspace by docs/formats.md alone, sharing no code with ml-cache.

    fingerprint.py --workspace DIR --data-paths TEXT --training-paths TEXT --extra-key TEXT
                   [--no-default-excludes] [--if-no-files-found ignore|error] [--workspace-name PATH]…

prints one JSON object: "fingerprint", "data-hash", "training-hash", "extra-hash", and the lines of the two inputs
lists as "data" and "training". Bad input ends it with status 2, a workspace that cannot be read truthfully with 1.

It exists to disagree: a test runs it beside the real program on the same tree. It is written for plainness, not speed,
and needs nothing but Python 3.11.
"""

import argparse
import hashlib
import json
import os
import re
import stat
import sys

DEFAULT_EXCLUDES = """\
!**/.git/**
!**/__pycache__/**
!**/*.py[co]
!**/.ipynb_checkpoints/**
!**/.DS_Store
!**/.pytest_cache/**
!**/.mypy_cache/**
!**/.ruff_cache/**
"""

# White space as JavaScript's String.prototype.trim knows it. Python's own str.strip() takes U+001C to U+001F and
# U+0085 as well, and leaves U+FEFF.
WHITE_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


class BadInput(Exception):
    """What the user wrote is not acceptable."""


class BadWorkspace(Exception):
    """What is on disk cannot be hashed truthfully."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Patterns
#
# A component is compiled to a list of tokens: a character, STAR, ANY, or a class (negated, [(low, high), …]). A class
# of one character is that character.
# Characters are UTF-16 code units, because the runner's matcher is JavaScript.

STAR = "STAR"
ANY = "ANY"
GLOBSTAR = "GLOBSTAR"


def units(text: str) -> list[int]:
    """Returns the UTF-16 code units of `text`."""
    raw = text.encode("utf-16-le", "surrogatepass")
    return [raw[i] | raw[i + 1] << 8 for i in range(0, len(raw), 2)]


def compile_class(content: str, pattern: str):
    if content[:1] in ("!", "^"):
        negated, members = True, content[1:]
    else:
        negated, members = False, content
    if members == "":
        raise BadInput(f"{pattern!r}: a class must hold a character before its ']'")
    if "\\" in members:
        raise BadInput(f"{pattern!r}: no backslash may stand between '[' and ']'")
    if "[:" in members:
        raise BadInput(f"{pattern!r}: named classes such as [[:alpha:]] have no meaning here")
    codes = units(members)
    if len(codes) == 1 and not negated:
        return codes[0]
    ranges, i = [], 0
    while i < len(codes):
        if i + 2 < len(codes) and codes[i + 1] == ord("-"):
            if codes[i + 2] < codes[i]:
                raise BadInput(f"{pattern!r}: a range in a class runs backwards")
            ranges.append((codes[i], codes[i + 2]))
            i += 3
        else:
            ranges.append((codes[i], codes[i]))
            i += 1
    return (negated, ranges)


def compile_component(component: str, pattern: str):
    if component == "**":
        return GLOBSTAR
    tokens = []
    i = 0
    while i < len(component):
        c = component[i]
        if c == "\\" and i + 1 < len(component):
            tokens.extend(units(component[i + 1]))
            i += 2
            continue
        if c == "*":
            if tokens[-1:] != [STAR]:
                tokens.append(STAR)
        elif c == "?":
            tokens.append(ANY)
        elif c == "[" and "]" in component[i + 1 :]:
            end = component.index("]", i + 1)
            tokens.append(compile_class(component[i + 1 : end], pattern))
            i = end
        else:
            tokens.extend(units(c))
        i += 1
    if literal_of(tokens) in (units("."), units("..")):
        raise BadInput(f"{pattern!r}: no component may be '.' (but the first) or '..'")
    return tokens


def literal_of(tokens):
    """Returns the only name that the tokens match, as code units, or None when they match more than one."""
    name = []
    for token in tokens:
        if isinstance(token, tuple) or token in (STAR, ANY):
            return None
        name.append(token)
    return name


def match_one(token, code: int) -> bool:
    if token is ANY:
        return True
    if isinstance(token, tuple):
        negated, ranges = token
        return any(low <= code <= high for low, high in ranges) != negated
    return token == code


def match_tokens(tokens, name: list[int]) -> bool:
    """Tells whether the tokens match the whole of `name`: the usual walk with one point to fall back to."""
    t = n = 0
    star = after = -1
    while n < len(name):
        if t < len(tokens) and tokens[t] is STAR:
            star, after = t, n
            t += 1
        elif t < len(tokens) and tokens[t] is not STAR and match_one(tokens[t], name[n]):
            t += 1
            n += 1
        elif star >= 0:
            after += 1
            t, n = star + 1, after
        else:
            return False
    return all(token is STAR for token in tokens[t:])


class Pattern:
    """One line: `include`, `components`, and whether it had a trailing slash (`directories_only`)."""

    def __init__(self, line: str, workspace_names: list[str]):
        self.line = line
        self.include = True
        text = line
        while text.startswith("!"):
            self.include = not self.include
            text = text[1:].strip(WHITE_SPACE)
        if text == "":
            raise BadInput(f"{line!r}: nothing follows the '!'")
        if text == "~" or text.startswith("~/"):
            raise BadInput(f"{line!r}: the home directory is outside the workspace (write ./~ for a file named ~)")
        self.directories_only = text.endswith("/")
        parts = [part for part in text.split("/") if part != ""]
        if text.startswith("/"):
            parts = self.below_workspace(parts, workspace_names, line)
        elif parts[0] == ".":
            parts = parts[1:]
        self.components = [compile_component(part, line) for part in parts]

    @staticmethod
    def below_workspace(parts: list[str], workspace_names: list[str], line: str) -> list[str]:
        """Returns the components that follow those of the workspace's own path."""
        for name in workspace_names:
            root = [part for part in name.split("/") if part != ""]
            if len(parts) >= len(root) and all(
                part != "**" and literal_of(compile_component(part, line)) == units(own)
                for part, own in zip(parts, root)
            ):
                return parts[len(root):]
        raise BadInput(f"{line!r}: an absolute pattern must begin with the workspace's path")

    def states(self, names: list[list[int]]):
        """Follows the components along a path.

        Yields, for the path's every prefix from the empty one to the whole, the set of positions in the pattern that
        can be reached; the position after the last component means a match.
        """
        current = self.close({0})
        yield current
        for name in names:
            following = set()
            for position in current:
                if position == len(self.components):
                    continue
                component = self.components[position]
                if component is GLOBSTAR:
                    following.add(position)
                elif match_tokens(component, name):
                    following.add(position + 1)
            current = self.close(following)
            yield current

    def close(self, positions: set[int]) -> set[int]:
        """Adds what is reached by letting `**` take no component."""
        closed = set(positions)
        for position in sorted(positions):
            while position < len(self.components) and self.components[position] is GLOBSTAR:
                position += 1
                closed.add(position)
        return closed

    def matches_file(self, names) -> bool:
        end = len(self.components)
        *ancestors, own = (end in states for states in self.states(names))
        return any(ancestors) or (own and not self.directories_only)

    def matches_directory(self, names) -> bool:
        """Tells whether the directory, and so all below it, is matched."""
        end = len(self.components)
        return any(end in states for states in self.states(names))

    def may_match_below(self, names) -> bool:
        return self.matches_directory(names) or bool(list(self.states(names))[-1])


class Patterns:
    def __init__(self, text: str, workspace_names: list[str]):
        self.patterns, problems = [], []
        for line in text.split("\n"):
            line = line.strip(WHITE_SPACE)
            if line == "" or line.startswith("#"):
                continue
            try:
                self.patterns.append(Pattern(line, workspace_names))
            except BadInput as problem:
                problems.append(str(problem))
        if problems:
            raise BadInput("\n".join(problems))

    def selects(self, names) -> bool:
        """Tells whether the patterns select a file at this path: the last one that matches decides."""
        for pattern in reversed(self.patterns):
            if pattern.matches_file(names):
                return pattern.include
        return False

    def reaches(self, names) -> bool:
        """Tells whether the patterns may select something below a directory at this path."""
        reached = False
        for pattern in self.patterns:
            if pattern.include:
                reached = reached or pattern.may_match_below(names)
            elif pattern.matches_directory(names):
                reached = False
        return reached


# ---------------------------------------------------------------------------------------------------------------------
# The walk

def select_files(workspace: bytes, patterns: Patterns) -> list[bytes]:
    """Returns the paths, relative to the workspace, of the files that the patterns select."""
    root = os.path.realpath(workspace)
    if not os.path.isdir(root):
        raise BadWorkspace(f"{workspace!r} is not a directory")
    selected: list[bytes] = []

    def is_inside(real: bytes) -> bool:
        return real == root or real.startswith(root.rstrip(b"/") + b"/")

    def enter(directory: bytes, path: bytes, names, chain):
        real = os.path.realpath(directory)
        if real in chain:
            return
        for entry in os.listdir(directory):
            child = path + b"/" + entry if path else entry
            visit(
                os.path.join(directory, entry),
                child,
                names + [units(entry.decode("utf-8", "replace"))],
                chain + [real],
            )

    def visit(file: bytes, path: bytes, names, chain):
        wanted, reached = patterns.selects(names), patterns.reaches(names)
        if not wanted and not reached:
            return
        mode = os.lstat(file).st_mode
        if stat.S_ISLNK(mode):
            try:
                mode = os.stat(file).st_mode
            except OSError as error:
                if wanted:
                    raise BadWorkspace(f"{path!r} is a link that leads nowhere: {error.strerror}") from error
                return
            if (reached if stat.S_ISDIR(mode) else wanted) and not is_inside(os.path.realpath(file)):
                raise BadWorkspace(f"{path!r} is a link that leads outside the workspace")
        if stat.S_ISDIR(mode):
            if reached:
                enter(file, path, names, chain)
        elif wanted:
            if not stat.S_ISREG(mode):
                raise BadWorkspace(f"{path!r} is neither a file nor a directory")
            selected.append(path)

    enter(root, b"", [], [])
    return sorted(selected)


# ---------------------------------------------------------------------------------------------------------------------
# Lists and hashes

STAND_IN = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\n"
    rb"size (0|[1-9][0-9]*)\n"
)


def describe(file: bytes) -> tuple[str, int]:
    """Returns the digest and size of a file's content, or those that it stands for when it is a Git LFS stand-in."""
    digest, size, head = hashlib.sha256(), 0, b""
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            if size == 0:
                head = block
            digest.update(block)
            size += len(block)
    if size < 1024 and (found := STAND_IN.fullmatch(head)) and int(found[2]) < 1 << 64:
        return found[1].decode(), int(found[2])
    return digest.hexdigest(), size


def inputs_list(workspace: bytes, patterns: Patterns) -> list[str]:
    lines = []
    for path in select_files(workspace, patterns):
        try:
            name = path.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadWorkspace(f"the path {path!r} is not UTF-8") from error
        digest, size = describe(os.path.join(workspace, path))
        name = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"sha256:{digest} {size} {name}")
    return lines


def unmatched_includes(workspace: bytes, patterns: Patterns) -> list[str]:
    """Returns the include lines that match no selected file."""
    names = [[units(part.decode("utf-8", "replace")) for part in path.split(b"/")]
             for path in select_files(workspace, patterns)]
    return [pattern.line for pattern in patterns.patterns
            if pattern.include and not any(pattern.matches_file(name) for name in names)]


def extra_lines(text: str) -> list[str]:
    lines, seen, problems = [], set(), []
    for line in text.split("\n"):
        line = line.strip(WHITE_SPACE)
        if line == "":
            continue
        name, equals, _ = line.partition("=")
        if not equals or not name:
            problems.append(f"extra-key {line!r}: write name=value")
        elif name in seen:
            problems.append(f"extra-key {line!r}: the name occurs twice")
        seen.add(name)
        lines.append(line)
    if problems:
        raise BadInput("\n".join(problems))
    return sorted(lines, key=lambda line: line.encode())


def hash_lines(kind: str, lines: list[str]) -> str:
    return sha256((f"ml-cache/{kind}/v1\n" + "".join(line + "\n" for line in lines)).encode())


def fingerprint(data: str, training: str, extra: str) -> str:
    return sha256(f"ml-cache/fingerprint/v1\ndata {data}\ntraining {training}\nextra {extra}\n".encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", default=".")
    parser.add_argument("--data-paths", default="")
    parser.add_argument("--training-paths", default="")
    parser.add_argument("--extra-key", default="")
    parser.add_argument("--no-default-excludes", action="store_true")
    parser.add_argument("--if-no-files-found", choices=["ignore", "error"], default="ignore")
    parser.add_argument("--workspace-name", action="append", default=[],
                        help="another absolute path by which patterns may name the workspace")
    options = parser.parse_args()

    workspace = os.fsencode(options.workspace)
    names = [os.path.abspath(options.workspace), os.path.realpath(options.workspace), *options.workspace_name]
    excludes = "" if options.no_default_excludes else "\n" + DEFAULT_EXCLUDES
    try:
        data_patterns = Patterns(options.data_paths + excludes, names)
        training_patterns = Patterns(options.training_paths + excludes, names)
        extra = extra_lines(options.extra_key)
        if options.if_no_files_found == "error":
            for patterns in (data_patterns, training_patterns):
                if missing := unmatched_includes(workspace, patterns):
                    raise BadInput("no file is selected by " + ", ".join(map(repr, missing)))
        data = inputs_list(workspace, data_patterns)
        training = inputs_list(workspace, training_patterns)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except (BadWorkspace, OSError) as error:
        print(error, file=sys.stderr)
        return 1

    data_hash, training_hash = hash_lines("inputs", data), hash_lines("inputs", training)
    extra_hash = hash_lines("extra", extra)
    answer = {
        "fingerprint": "sha256:" + fingerprint(data_hash, training_hash, extra_hash),
        "data-hash": "sha256:" + data_hash,
        "training-hash": "sha256:" + training_hash,
        "extra-hash": "sha256:" + extra_hash,
        "data": data,
        "training": training,
    }
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
