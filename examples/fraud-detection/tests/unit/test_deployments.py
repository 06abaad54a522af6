"""Tests of the record of deployments."""

import io
import json

import pytest

import deployments
from deployments import Entry, NoSuchVersionError, before, served
from example import pointer_text


def entry(version: str, model: str, action: str = "deploy") -> Entry:
    return Entry("", action, version, f"sha256:{model * 64}", f"1{version}", "", "")


DEPLOYED = [entry("1", "a"), entry("2", "b"), entry("3", "b")]


def test_the_model_before_is_the_last_other_one() -> None:
    assert before(DEPLOYED).version == "1", "a new server with the same model is no other model"
    assert before([*DEPLOYED, entry("4", "c")]).version == "3"


def test_a_version_can_be_named() -> None:
    assert before(DEPLOYED, "12").version == "2", "by the number of its run"
    assert before(DEPLOYED, "2").version == "2"
    assert before(DEPLOYED, "sha256:aaaa").version == "1"
    with pytest.raises(NoSuchVersionError, match="`9` was not deployed"):
        before(DEPLOYED, "9")


def test_what_was_taken_back_is_not_gone_back_to() -> None:
    history = [*DEPLOYED, entry("1", "a", "rollback")]
    assert [each.version for each in served(history)] == ["1"]
    with pytest.raises(NoSuchVersionError, match="no other model"):
        before(history)
    assert before([*history, entry("4", "c")]).version == "1"
    with pytest.raises(NoSuchVersionError, match="no record"):
        before([])


def test_the_record_grows_and_stays_small(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ""
    for number in range(deployments.KEPT + 3):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        command = ["record", "--version", str(number), "--reason", "a | b", "--order", "7"]
        assert deployments.main([*command, "--pointer", pointer_text("a")]) == 0
        text = capsys.readouterr().out
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["version"] for line in lines] == [str(n + 3) for n in range(deployments.KEPT)]
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert deployments.main(["show"]) == 0
    assert "| deploy | `sha256:aaaaaaaaaaaa` | 22 | 7 | a \\| b |" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert deployments.main(["before"]) == 1
    assert "no other model was deployed before" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert deployments.main(["versions"]) == 0
    assert capsys.readouterr().out.split() == ["18", "19", "20", "21", "22"]


def test_the_run_is_known_in_github_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/fraud")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    assert deployments.run_url() == "https://github.com/acme/fraud/actions/runs/7"
    monkeypatch.delenv("GITHUB_RUN_ID")
    assert deployments.run_url() == ""
