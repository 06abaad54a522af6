"""Fails when the canary is worse than the stable version, by the metrics that both export.

python src/check_canary_metrics.py --threshold 0.01 --stable URL --canary URL

`scripts/deploy exec production` sets the addresses in STABLE_METRICS and CANARY_METRICS, and in
STABLE_SINCE what the stable processes had counted when the canary started: only what came after
is compared. A threshold of 0.01 needs 200 requests to each: fewer are no pass, and no verdict.
"""

import argparse
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from canary import Limits, Observed, compare, observe, requests_to_judge, score_shift
from outputs import append_summary


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


def report(stable: Observed | None, canary: Observed, faults: Sequence[str]) -> str:
    """Returns the comparison as Markdown."""
    base = stable or Observed()
    lines = [
        f"### Canary: {'failed' if faults else 'passed'}",
        "",
        "| | stable | canary |",
        "|---|---:|---:|",
        f"| requests | {base.requests} | {canary.requests} |",
        f"| error rate | {base.error_rate:.2%} | {canary.error_rate:.2%} |",
        f"| scores | {base.scored} | {canary.scored} |",
        f"| latency, 95th percentile | {base.p95 * 1000:.0f} ms | {canary.p95 * 1000:.0f} ms |",
    ]
    if stable:
        lines.append(f"| PSI of the scores | | {score_shift(stable, canary)[0]:.3f} |")
    return "\n".join([*lines, "", *(f"- {fault}" for fault in faults), "", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare a canary with the stable version.")
    parser.add_argument(
        "--threshold", type=float, required=True, help="how much higher the error rate may be"
    )
    parser.add_argument("--stable", nargs="*", default=sources("STABLE_METRICS"))
    parser.add_argument("--canary", nargs="+", default=sources("CANARY_METRICS"))
    parser.add_argument("--stable-since", nargs="*", default=sources("STABLE_SINCE"))
    parser.add_argument("--max-slowdown", type=float, default=2.0)
    parser.add_argument("--latency-slack", type=float, default=0.05, metavar="SECONDS")
    parser.add_argument("--max-score-psi", type=float, default=0.25)
    parser.add_argument(
        "--min-requests",
        type=int,
        help="2 / threshold by default, so that a single error is no refusal",
    )
    parser.add_argument("--min-scores", type=int, help="half of --min-requests by default")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds to wait for so many requests"
    )
    parser.add_argument("--summary", type=Path, help="append the comparison here, as Markdown")
    arguments = parser.parse_args(argv)
    if not arguments.canary:
        parser.error("give --canary, or set CANARY_METRICS")
    if not 0 < arguments.threshold <= 1:
        parser.error("--threshold must be above 0, and 1 at most: no sample can show less")
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
    )

    deadline = time.monotonic() + arguments.wait
    try:
        before = observe(map(read, arguments.stable_since))
        while True:
            canary = observe(map(read, arguments.canary))
            stable = None
            if arguments.stable:
                stable = observe(map(read, arguments.stable)).since(before)
            enough = min(o.requests for o in (canary, stable) if o) >= limits.min_requests
            if enough or time.monotonic() >= deadline:
                break
            time.sleep(1.0)
    except OSError as error:
        print(f"error: cannot read the metrics: {error}", file=sys.stderr)
        return 1

    faults = compare(stable, canary, limits)
    text = report(stable, canary, faults)
    append_summary(arguments.summary, text)
    if faults:
        print(f"error: the canary must not go on: {'; '.join(faults)}", file=sys.stderr)
        return 1
    beside = "by itself" if stable is None else f"beside {stable.requests} of the stable version"
    print(f"the canary is as good, after {canary.requests} requests {beside}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
