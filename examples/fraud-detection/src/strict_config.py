"""Reads a configuration strictly: every fault at once, before anything else is done.

    @config
    class Limits:
        psi: Annotated[float, Field(gt=0)]

    limits = read_config(Path("configs/drift.yaml"), Limits)

A class of the file may have further such classes as fields, lists and mappings of them, and
optional fields. Each fault names the file, its line, the key, and the nearest known key.
The reader refuses and never converts, apart from whole numbers that become floats, so a value
is what stands in the file. A command that catches `ConfigError` prints it and ends with `USAGE`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

USAGE = 2  # the exit code of a command whose configuration or arguments are wrong

Shape = TypeVar("Shape")
Location = tuple[int | str, ...]

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class ConfigError(ValueError):
    """The configuration does not say what it has to say; the message has all faults."""


class MisfitError(ValueError):
    """Keys do not fit to each other; a validator of a class raises it with a text for each key."""

    def __init__(self, faults: Mapping[Location, str]) -> None:
        super().__init__("; ".join(f"`{_dotted(key)}` {text}" for key, text in faults.items()))
        self.faults = faults


def relative_glob(pattern: str) -> str:
    """Returns a pattern of files below the current directory, or raises ValueError."""
    try:
        next(Path("no-such-directory").glob(pattern), None)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(
            f"must be a pattern below this directory, such as data/*.csv, not `{pattern}`: {error}"
        ) from None
    return pattern


Glob = Annotated[str, Field(min_length=1), AfterValidator(relative_glob)]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def config(shape: type[Shape]) -> type[Shape]:
    """Makes a class the description of a file, or of a part of it."""
    made: Any = dataclass(shape, frozen=True, kw_only=True, config=STRICT)
    return cast("type[Shape]", made)


def read_config(path: Path, shape: type[Shape]) -> Shape:
    """Returns the content of a YAML file; raises `ConfigError` with all faults of it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        near = _nearest(path.name, beside, few=False)
        raise ConfigError(f"{path}: there is no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse_config(text, shape, str(path))


def parse_config(text: str, shape: type[Shape], name: str) -> Shape:
    """Returns the content of a text; `name` stands for its file in messages."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
        # As JSON, because pydantic is strict with values and takes mappings for classes only there.
        document = json.dumps({} if content is None else content, default=str)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        # The other two: a date such as 2024-02-31, also as a key, and a list within itself.
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{name}{line}: this is not YAML: {problem}") from None
    faults = list(_repeated(root)) if root else []
    try:
        found = TypeAdapter(shape).validate_json(document)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            faults += _faults(detail, shape, root)
    if faults:
        lines = [f"{name}:{line}: {text}" for line, text in sorted(faults)]
        raise ConfigError("\n".join(lines))
    return found


def _faults(detail: ErrorDetails, shape: Any, root: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yields the faults that pydantic tells as one."""
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, MisfitError):
        for key, text in error.faults.items():
            location = (*detail["loc"], *key)
            yield _line(root, location), f"`{_dotted(location)}` {text}"
    else:
        yield _fault(detail, shape, root)


def _fault(detail: ErrorDetails, shape: Any, root: yaml.Node | None) -> tuple[int, str]:
    """Returns the line of a fault, and what is wrong there."""
    kind, location, value = detail["type"], detail["loc"], detail["input"]
    key = _dotted(location)
    line = _line(root, location)
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = list(_keys_of(_shape_at(shape, location[:-1])))
        return line, f"`{key}` is not a known key{_nearest(str(location[-1]), known)}"
    if kind in ("missing", "missing_argument"):
        return line, f"`{key}` is missing"
    if kind == "dataclass_type":
        wanted = ", ".join(_keys_of(_shape_at(shape, location)))
        subject = f"`{key}`" if key else "the file"
        return line, f"{subject} must be a mapping with the keys {wanted}"
    message = re.sub("^(Input|List|Tuple|Dictionary|String) should", "must", detail["msg"])
    message = message.removeprefix("Value error, ").replace(" after validation", "")
    message = (
        message.replace("an object", "a mapping")
        .replace("valid array", "list")
        .replace("valid string", "text")
    )
    message = message.replace(r"match pattern '\S'", "not be empty")
    if not isinstance(value, dict | list) and kind != "value_error":
        message += f", not {value!r}"
    return line, f"`{key}` {message}" if key else message


def _nearest(key: str, known: list[str], *, few: bool = True) -> str:
    """Returns the end of a sentence about an unknown name; all known ones, if they are few."""
    if near := get_close_matches(key, known, n=1, cutoff=0.5):
        return f"; did you mean `{near[0]}`?"
    return (
        f"; the known ones are {', '.join(f'`{name}`' for name in known)}" if known and few else ""
    )


def _dotted(location: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)[1:]


def _keys_of(shape: Any) -> Iterator[str]:
    for part in _alternatives(shape):
        if is_dataclass(part):
            yield from (item.name for item in fields(part))


def _shape_at(shape: Any, location: Location) -> Any:
    """Returns the type that the value at `location` has to have."""
    for part in location:
        for candidate in _alternatives(shape):
            if is_dataclass(candidate) and isinstance(candidate, type):
                hints = get_type_hints(candidate)
                if part in hints:
                    shape = hints[str(part)]
                    break
            elif get_args(candidate):
                shape = get_args(candidate)[-1]  # of a list or the values of a mapping
                break
    return shape


def _alternatives(shape: Any) -> tuple[Any, ...]:
    return get_args(shape) if get_origin(shape) in (Union, UnionType) else (shape,)


def _line(root: yaml.Node | None, location: Location) -> int:
    """Returns the line, from 1, of the value at `location`, or of the last part that exists."""
    node, line = root, 1
    for part in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    found, line = value, key.start_mark.line + 1
        elif (
            isinstance(node, yaml.SequenceNode)
            and isinstance(part, int)
            and part < len(node.value)  # pydantic also names items that are missing
        ):
            found = node.value[part]
            line = node.value[part].start_mark.line + 1
        if found is None:
            return line
        node = found
    return line


def _repeated(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Yields keys that stand twice in a mapping, of which YAML would drop the first."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                yield line, f"`{key.value}` stands already on line {seen[key.value]}"
            seen.setdefault(key.value, line)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)
