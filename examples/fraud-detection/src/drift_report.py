"""Judges the drift of all files, and tells it as text and as Markdown."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import accepted_drift
from accepted_drift import AcceptedDrift, Entry, digest_of, same_file
from drift import DEFAULT_CONFIG, Drift, DriftConfig, exceeded
from drift_baseline import COMMAND
from drift_baseline import DEFAULT_PATH as DEFAULT_BASELINE

REASON = "say why this is expected"
CORRECT = "if the data is wrong, correct it at its source"


@dataclass(frozen=True)
class Files:
    """Where the gate reads; its commands name what differs from the defaults."""

    baseline: Path = DEFAULT_BASELINE
    config: Path = DEFAULT_CONFIG
    accepted: Path = accepted_drift.DEFAULT_PATH

    def options(self) -> list[str]:
        """Returns the options of a command that reads the same files."""
        default = Files()
        options: list[str] = []
        for name in ("baseline", "config", "accepted"):
            if getattr(self, name) != getattr(default, name):
                options += [f"--{name}", str(getattr(self, name))]
        return options


@dataclass(frozen=True)
class Verdict:
    """All drifts beyond a limit: those that fail, and those that an entry accepts."""

    drifts: Sequence[Drift]
    failed: list[Drift] = field(default_factory=list)
    accepted: list[tuple[Drift, Entry]] = field(default_factory=list)
    outdated: list[tuple[Drift, Entry]] = field(default_factory=list)  # of other digests
    unused: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


def judge(config: DriftConfig, known: AcceptedDrift, drifts: Sequence[Drift]) -> Verdict:
    """Separates what moved too far from what is near the baseline or accepted."""
    files = dict.fromkeys(drift.file for drift in drifts)
    verdict = Verdict(drifts, digests={file: digest_of(Path(file)) for file in files})
    for drift in drifts:
        if not exceeded(drift, config):
            continue
        digest = verdict.digests[drift.file]
        if entry := known.entry_for(drift.file, drift.column, digest):
            verdict.accepted.append((drift, entry))
        else:
            verdict.failed.append(drift)
            of_column = known.of(drift.file, drift.column)
            verdict.outdated.extend((drift, entry) for entry in of_column[:1])
    verdict.unused.extend(_unused(known, verdict))
    return verdict


def _unused(known: AcceptedDrift, verdict: Verdict) -> Iterator[str]:
    moved = [*verdict.failed, *(drift for drift, _ in verdict.accepted)]
    for entry in known.accepted:
        if not any(same_file(entry.file, file) for file in verdict.digests):
            yield f"{entry.file}: there is no such file any more"
            continue
        columns = [
            column
            for column in entry.columns
            if not any(it.column == column and same_file(it.file, entry.file) for it in moved)
        ]
        if columns:
            yield f"{entry.file}: no drift in {_names(columns)}"


def measures(drift: Drift, config: DriftConfig) -> str:
    """Returns the measures of a drift, each with its limit."""
    found: dict[str, tuple[str, float]] = {
        "psi": (f"PSI {drift.psi:.3f}", config.max_psi(drift.column))
    }
    if drift.ks is not None:
        found["ks"] = f"KS {drift.ks:.3f}", config.max_ks(drift.column)
    if drift.share and (ratio := config.max_share_ratio(drift.column)):
        found["share"] = drift.share.text(), ratio
    beyond = exceeded(drift, config)
    return "; ".join(
        f"{text}, beyond the limit {limit:g}" if name in beyond else f"{text} (limit {limit:g})"
        for name, (text, limit) in found.items()
    )


def faults(config: DriftConfig, files: Files, verdict: Verdict) -> Iterator[str]:
    """Yields a line for each drift that fails, and for each acceptance of other bytes."""
    for drift in verdict.failed:
        yield f"{drift.file}: `{drift.column}`: {measures(drift, config)}"
    for drift, entry in verdict.outdated:
        yield (
            f"{files.accepted}: `{drift.column}` of {drift.file} is accepted for the SHA-256"
            f" {entry.sha256}, but the file has {verdict.digests[drift.file]}:"
            " it changed after it was accepted"
        )


def commands(files: Files, verdict: Verdict) -> list[str]:
    """Returns the commands that accept all drifts that fail, one for each file."""
    columns: dict[str, list[str]] = {}
    for drift in verdict.failed:
        columns.setdefault(drift.file, []).append(drift.column)
    return [
        shlex.join(
            [
                *("python", "src/accept_drift.py", "--file", file, "--column", *of_file),
                *("--sha256", verdict.digests[file], *files.options()),
            ]
        )
        + f' --reason "{REASON}"'
        for file, of_file in columns.items()
    ]


def remedy(files: Files) -> str:
    """Returns the text before the commands."""
    return (
        "if it is right, accept exactly this content with a reason,"
        f" and commit {files.accepted} for a review:"
    )


def new_normal(files: Files) -> str:
    """Returns the text after the commands."""
    return (
        "once several months are of this kind, they can become the baseline:"
        f" `{COMMAND} {files.baseline} --newest 3`"
    )


def report(config: DriftConfig, files: Files, verdict: Verdict) -> str:
    """Returns the report: each column with the file that moved furthest, and each drift."""
    lines = [
        f"### Data drift: {'failed' if verdict.failed else 'passed'}",
        "",
        f"Limits: {_limits(config)}. The largest of all files:",
        "",
        "| column | PSI | in | KS | in | share | in | |",
        "|---|---:|---|---:|---|---:|---|---|",
    ]
    for column in dict.fromkeys(drift.column for drift in verdict.drifts):
        lines.append(_row(config, verdict, column))
    if verdict.failed:
        lines += ["", "**Beyond a limit:**", ""]
        lines += [f"- {fault}" for fault in faults(config, files, verdict)]
        lines += ["", f"{_capital(CORRECT)}.", _capital(remedy(files)), ""]
        lines += ["```sh", *commands(files, verdict), "```"]
        lines += ["", f"{_capital(new_normal(files))}."]
    if verdict.accepted:
        lines += ["", f"**Accepted in {files.accepted}:**", ""]
        lines += [f"- {line}" for line in accepted(config, verdict)]
    if verdict.unused:
        lines += ["", f"**Needed no more in {files.accepted}:**", ""]
        lines += [f"- {line}" for line in verdict.unused]
    return "\n".join([*lines, "", ""])


def accepted(config: DriftConfig, verdict: Verdict) -> Iterator[str]:
    """Yields a line for each drift that an entry accepts."""
    for drift, entry in verdict.accepted:
        yield f"{drift.file}: `{drift.column}`: {measures(drift, config)}: {entry.reason}"


def _row(config: DriftConfig, verdict: Verdict, column: str) -> str:
    of_column = [drift for drift in verdict.drifts if drift.column == column]
    psi = max(of_column, key=lambda drift: drift.psi)
    cells = [column, f"{psi.psi:.3f}", Path(psi.file).name]
    ks = max(of_column, key=lambda drift: drift.ks or 0.0)
    cells += ["-", "-"] if ks.ks is None else [f"{ks.ks:.3f}", Path(ks.file).name]
    share = max(of_column, key=lambda drift: drift.share.ratio if drift.share else 0.0)
    if share.share:
        change = f"{share.share.expected:.2%} → {share.share.found:.2%}"
        cells += [f"`{share.share.value}`: {change}", Path(share.file).name]
    else:
        cells += ["-", "-"]
    if any(drift.column == column for drift in verdict.failed):
        cells.append("**drifted**")
    else:
        is_accepted = any(drift.column == column for drift, _ in verdict.accepted)
        cells.append("accepted" if is_accepted else "stable")
    return f"| {' | '.join(cells)} |"


def _limits(config: DriftConfig) -> str:
    texts = [f"PSI {config.limits.psi:g}, KS {config.limits.ks:g}"]
    for name, limits in config.limits.columns.items():
        own = {"PSI": limits.psi, "KS": limits.ks, "share ratio": limits.share_ratio}
        stated = [f"{kind} {limit:g}" for kind, limit in own.items() if limit is not None]
        if stated:
            texts.append(f"for `{name}` {', '.join(stated)}")
    return "; ".join(texts)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)
