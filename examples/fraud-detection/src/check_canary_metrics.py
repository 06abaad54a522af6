"""Fails when the canary is worse than the stable version, by the metrics that both export.

python src/check_canary_metrics.py --threshold 0.01 --minutes 10 --stable URL --canary URL

`scripts/deploy exec production` sets the addresses in STABLE_METRICS and CANARY_METRICS, and in
STABLE_SINCE and CANARY_SINCE what both had counted when this step began: only what came after is
compared. The verdict needs time and requests, both: `--minutes` have to pass, since some faults
take a while, and a threshold of 0.01 needs 200 requests to each version. Errors alone end the wait.
"""

import argparse
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from canary import (
    Limits,
    Observed,
    compare,
    fails_already,
    observe,
    requests_to_judge,
    score_fault,
    score_shift,
)
from outputs import append_summary

POLL_SECONDS = 1.0


class Clock(Protocol):
    """Tells the time and lets it pass."""

    def monotonic(self) -> float:
        """Returns seconds since some moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Returns after so many seconds."""
        ...


@dataclass(frozen=True)
class Sources:
    """Where the counts are: addresses or files, and those of before."""

    stable: Sequence[str]
    canary: Sequence[str]
    stable_since: Sequence[str]
    canary_since: Sequence[str]

    def observe(self) -> tuple[Observed | None, Observed]:
        """Reads what the stable version and the canary have counted in this step."""
        canary = observe(map(read, self.canary)).since(observe(map(read, self.canary_since)))
        if not self.stable:
            return None, canary
        return observe(map(read, self.stable)).since(observe(map(read, self.stable_since))), canary


def read(source: str) -> str:
    """Reads an export from an URL or a file."""
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    return Path(source).read_text(encoding="utf-8")


def sources(variable: str) -> list[str]:
    """Returns the addresses or files that a variable lists."""
    return os.environ.get(variable, "").split()


def wait_for_both(
    where: Sources, limits: Limits, seconds: float, longest: float, clock: Clock
) -> tuple[Observed | None, Observed, float]:
    """Waits until the time has passed and both versions have answered enough; returns the counts.

    The third value is how long it took, in seconds. After `longest` the counts are what they are.
    """
    begun = clock.monotonic()
    while True:
        stable, canary = where.observe()
        passed = clock.monotonic() - begun
        enough = min(o.requests for o in (canary, stable) if o) >= limits.min_requests
        done = enough and passed >= seconds
        if done or passed >= max(seconds, longest) or fails_already(stable, canary, limits):
            return stable, canary, passed
        clock.sleep(POLL_SECONDS)


def models(observed: Observed) -> str:
    """Returns the digests of the models that answered, short."""
    return ", ".join(f"`{name[:19]}`" for name in sorted(observed.manifests)) or "none"


def report(
    stable: Observed | None, canary: Observed, limits: Limits, faults: Sequence[str], title: str
) -> str:
    """Returns the comparison as Markdown, each figure with its limit."""
    base = stable or Observed()
    latency = f"{limits.latency(stable) * 1000:.0f} ms" if stable else ""
    errors = base.error_rate + limits.error_rate
    lines = [
        f"### {title}: {'failed' if faults else 'passed'}",
        "",
        "| | stable | canary | limit |",
        "|---|---:|---:|---:|",
        f"| model | {models(base)} | {models(canary)} | |",
        f"| requests | {base.requests} | {canary.requests} | at least {limits.min_requests} |",
        f"| error rate | {base.error_rate:.2%} | {canary.error_rate:.2%} | {errors:.2%} |",
        f"| scores | {base.scored} | {canary.scored} | at least {limits.min_scores} |",
        f"| latency, 95th percentile | {base.p95 * 1000:.0f} ms | {canary.p95 * 1000:.0f} ms"
        f" | {latency} |",
    ]
    if stable and stable.scored and canary.scored:
        shift, chance = score_shift(stable, canary)
        lines.append(f"| PSI of the scores | | {shift:.3f} | {max(limits.score_psi, chance):.3f} |")
    return "\n".join([*lines, "", *(f"- {fault}" for fault in faults), "", ""])


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description="Compare a canary with the stable version.")
    parser.add_argument(
        "--threshold", type=float, required=True, help="how much higher the error rate may be"
    )
    parser.add_argument("--stable", nargs="*", default=sources("STABLE_METRICS"))
    parser.add_argument("--canary", nargs="+", default=sources("CANARY_METRICS"))
    parser.add_argument("--stable-since", nargs="*", default=sources("STABLE_SINCE"))
    parser.add_argument("--canary-since", nargs="*", default=sources("CANARY_SINCE"))
    parser.add_argument("--max-slowdown", type=float, default=2.0)
    parser.add_argument("--latency-slack", type=float, default=0.05, metavar="SECONDS")
    parser.add_argument("--max-score-psi", type=float, default=0.25)
    parser.add_argument(
        "--accept-score-shift", metavar="REASON", help="let the scores move, for this reason"
    )
    parser.add_argument(
        "--min-requests",
        type=int,
        help="2 / threshold by default, so that a single error is no refusal",
    )
    parser.add_argument("--min-scores", type=int, help="half of --min-requests by default")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long to watch at least; 10 by default"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="MINUTES",
        help="how long to wait for enough requests; 60 by default",
    )
    parser.add_argument("--title", default="Canary", help="heading of the comparison")
    parser.add_argument("--summary", type=Path, help="append the comparison here, as Markdown")
    return parser


def main(argv: Sequence[str] | None = None, clock: Clock = time) -> int:
    """Runs the command line; returns the exit code."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if not arguments.canary:
        parser.error("give --canary, or set CANARY_METRICS")
    if not 0 < arguments.threshold <= 1:
        parser.error("--threshold must be above 0, and 1 at most: no sample can show less")
    if not 0 <= arguments.minutes < float("inf"):
        parser.error("--minutes must be 0 or more")
    if arguments.min_requests is not None and arguments.min_requests < 1:
        parser.error("--min-requests must be 1 or more: without requests there is no verdict")
    if arguments.min_requests is None:
        arguments.min_requests = requests_to_judge(arguments.threshold)
    if arguments.min_scores is None:
        # Not all of them: an error gives no score, and one error is no refusal.
        arguments.min_scores = (arguments.min_requests + 1) // 2
    limits = Limits(
        error_rate=arguments.threshold,
        slowdown=arguments.max_slowdown,
        slack_seconds=arguments.latency_slack,
        score_psi=arguments.max_score_psi,
        min_requests=arguments.min_requests,
        min_scores=arguments.min_scores,
        accepts_shift=bool(arguments.accept_score_shift),
    )
    where = Sources(
        arguments.stable, arguments.canary, arguments.stable_since, arguments.canary_since
    )
    seconds, longest = arguments.minutes * 60, arguments.wait * 60
    print(f"watching for at least {seconds:g} seconds and {limits.min_requests} requests to each")
    try:
        stable, canary, passed = wait_for_both(where, limits, seconds, longest, clock)
    except (OSError, ValueError) as error:
        print(f"error: cannot read the metrics: {error}", file=sys.stderr)
        return 1

    faults = compare(stable, canary, limits)
    text = report(stable, canary, limits, faults, arguments.title)
    if arguments.accept_score_shift and stable:
        moved = score_fault(stable, canary, limits)
        text += (
            f"Accepted: {moved or 'scores that move'}. Reason: {arguments.accept_score_shift}\n\n"
        )
    append_summary(arguments.summary, text)
    if faults:
        print(f"error: the canary must not go on: {'; '.join(faults)}", file=sys.stderr)
        return 1
    beside = "by itself" if stable is None else f"beside {stable.requests} of the stable version"
    print(f"the canary is as good, after {canary.requests} requests {beside}, in {passed:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
