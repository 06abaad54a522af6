"""Tests of the strict reader: each fault has its place and its remedy, and all come together."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from strict_config import ConfigError, config, parse_config, read_config


@config
class Column:
    """A part of the file below."""

    psi: Annotated[float, Field(gt=0)]
    name: Annotated[str, Field(min_length=1)] = "all"


@config
class File:
    """A file with everything that a configuration here may have."""

    rows: int
    limits: Column
    columns: dict[str, Column] = Field(default_factory=dict)
    names: list[str] = Field(default_factory=list)
    note: str | None = None


GOOD = """\
rows: 3
limits: { psi: 1 }
columns:
  amount: { psi: 0.2, name: x }
names: [a, b]
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, File, "f.yaml")
    return str(caught.value).splitlines()


def test_a_good_file_becomes_the_object() -> None:
    found = parse_config(GOOD, File, "f.yaml")
    assert found.limits == Column(psi=1.0)
    assert found.columns == {"amount": Column(psi=0.2, name="x")}
    assert (found.names, found.note) == (["a", "b"], None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{ psi: 1 }", "{ psy: 1 }", "f.yaml:2: `limits.psy` is not a known key; did you mean"),
        ("psi: 0.2", "ps: 0.2", "f.yaml:4: `columns.amount.ps` is not a known key; did you mean"),
        ("rows", "zzz", "f.yaml:1: `zzz` is not a known key; the known ones are `rows`, `limits`"),
        ("rows: 3\n", "", "f.yaml:1: `rows` is missing"),
        ("rows: 3", "rows: three", "f.yaml:1: `rows` must be a valid integer, not 'three'"),
        ("rows: 3", "rows: yes", "f.yaml:1: `rows` must be a valid integer, not True"),
        ("psi: 1", "psi: -1", "f.yaml:2: `limits.psi` must be greater than 0, not -1"),
        ("psi: 1", "psi: .nan", "f.yaml:2: `limits.psi` must be a finite number, not nan"),
        ("{ psi: 1 }", "5", "f.yaml:2: `limits` must be a mapping with the keys psi, name"),
        ("[a, b]", "[a, 2]", "f.yaml:5: `names[1]` must be a text, not 2"),
        ("[a, b]", "a", "f.yaml:5: `names` must be a list, not 'a'"),
        ("names:", "rows: 4\nnames:", "f.yaml:5: `rows` stands already on line 1"),
        ("{ psi: 1 }", "{ psi: 1", "f.yaml:3: this is not YAML: expected"),
        ("rows: 3", "rows: 2024-02-31", "f.yaml: this is not YAML: day"),
    ],
)
def test_a_fault_has_its_place_and_its_remedy(old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert any(fault.startswith(message) for fault in faults(GOOD.replace(old, new)))


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("rows: 3", "rows: x").replace("psi: 1", "psi: 0").replace("[a", "[1")
    assert [fault.split(":")[1] for fault in faults(text)] == ["1", "2", "5"]


@pytest.mark.parametrize("text", ["", "[1]", "text"])
def test_a_file_without_a_mapping_is_refused(text: str) -> None:
    assert faults(text)


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "drift.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"no such file; did you mean `drift.yaml`\?"):
        read_config(tmp_path / "drfit.yaml", File)
    with pytest.raises(ConfigError, match=r"there is no such file$"):
        read_config(tmp_path / "zzz", File)
    with pytest.raises(ConfigError, match=r"there is no such file$"):
        read_config(tmp_path / "none" / "drift.yaml", File)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drift.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "drift.yaml", File)
