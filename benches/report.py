"""Tables on the terminal and the page docs/benchmarks.md."""

import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lab import REQUESTS, Lab, Result

MIB = 1 << 20
GB = 10**9
HEADERS = ("tool", "median", "range", "time of it ÷ ours", "CPU s/GB", "peak MiB", "requests", "connections")


@dataclass
class Table:
    """The results of one comparison; the first of them is ours."""

    part: str
    title: str
    # The bytes that each contender processed, or 0 where that says nothing.
    size: int
    results: list[Result]
    is_counted: bool


def starts(part: str, results: list[Result]) -> Table:
    """Returns a table of the time from the start of each process to its first request."""
    rows = [Result(row.name, row.firsts, row.cpus, row.peaks, [], {}, row.failure) for row in results]
    return Table(part, "from the start of the process to its first request", 0, rows, False)


def seconds(value: float) -> str:
    if value < 0.0995:
        return f"{value * 1000:.1f} ms"
    return f"{value:.3f} s" if value < 9.995 else f"{value:.1f} s"


def mebibytes(value: float) -> str:
    return f"{value / MIB:.0f} MiB"


def row(table: Table, result: Result) -> list[str]:
    if result.failure or not result.walls:
        return [result.name, "failed", *[""] * (len(HEADERS) - 2)]
    median = statistics.median
    ours = table.results[0].walls
    cpu = median(result.cpus)
    counts = result.counts
    told = ", ".join(f"{counts[kind]:,} {kind}" for kind in REQUESTS if counts.get(kind))
    return [
        result.name,
        seconds(median(result.walls)),
        f"{seconds(min(result.walls))} to {seconds(max(result.walls))}",
        "" if result is table.results[0] else f"{median(result.walls) / median(ours):.2f}",
        f"{cpu / (table.size / GB):.2f}" if table.size else f"{cpu * 1000:.0f} ms in all",
        f"{median(result.peaks) / MIB:.0f}",
        told if table.is_counted else "",
        str(counts["most_open"]) if table.is_counted else "",
    ]


def columns(table: Table) -> list[int]:
    return [index for index in range(len(HEADERS)) if table.is_counted or index < 6]


def terminal(table: Table) -> str:
    shown = columns(table)
    rows = [HEADERS, *(row(table, result) for result in table.results)]
    widths = {index: max(len(line[index]) for line in rows) for index in shown}
    lines = ["  " + "  ".join(line[index].ljust(widths[index]) for index in shown).rstrip() for line in rows]
    return f"\n{table.title}\n" + "\n".join(lines) + "\n"


def markdown(table: Table) -> str:
    shown = columns(table)
    lines = [[HEADERS[index] for index in shown], ["---"] * len(shown)]
    lines += [[row(table, result)[index] for index in shown] for result in table.results]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    failures = [f"`{result.name}`: {result.failure}" for result in table.results if result.failure]
    title = table.title[0].upper() + table.title[1:]
    return f"### {title}\n\n{text}\n" + "".join(f"\nFailed: {failure}\n" for failure in failures)


def lost(tables: list[Table]) -> str:
    """Returns where others need less time or less memory than we do."""
    lines = []
    for table in tables:
        # These do other work: they show what ours costs.
        ours = table.results[0]
        others = [other for other in table.results[1:] if other.walls and not other.name.startswith("ml-cache")]
        for what, values, name in (("time", "walls", seconds), ("memory", "peaks", mebibytes)):
            mine = statistics.median(getattr(ours, values))
            faster = [other for other in others if statistics.median(getattr(other, values)) < mine]
            if faster:
                told = ", ".join(f"{other.name} {name(statistics.median(getattr(other, values)))}" for other in faster)
                lines.append(f"| {table.title} | {what} | {name(mine)} | {told} |")
    if not lines:
        return "Nothing in this run.\n"
    return "\n".join(["| work | less of | ml-cache | others |", "| --- | --- | --- | --- |", *lines]) + "\n"


# The work by the beginning of its title, a peer by the beginning of its name, and the wanted ratio of its time to ours.
GOALS = (
    ("save of one file of 1 GiB, http", "s5cmd", 3.0),
    ("save of one file of 1 GiB, http", "transfer manager", 0.6),
    ("save of four files of 1 GiB, http", "s5cmd", 3.0),
    ("save of four files of 1 GiB, http", "transfer manager", 0.6),
    ("save of one file of 1 GiB, TLS", "s5cmd", 2.5),
    ("save of four files of 1 GiB, TLS", "s5cmd", 2.5),
    ("restore of one file of 1 GiB, http", "s5cmd (", 0.9),
    ("restore of one file of 1 GiB, http", "transfer manager", 1.0),
    ("restore of one file of 1 GiB, http", "s5cmd, then openssl", 2.0),
    ("restore of one file of 1 GiB, TLS", "s5cmd (", 0.9),
    ("restore of one file of 1 GiB, TLS", "s5cmd, then openssl", 2.0),
    ("save of 1 GiB, 30 ms", "s5cmd", 4.0),
    ("save of 1 GiB, 30 ms", "transfer manager", 1.0),
    ("restore of 1 GiB, 30 ms", "s5cmd", 4.0),
    ("restore of 1 GiB, 30 ms", "transfer manager", 1.0),
    ("save of 256 MiB, 150 ms", "transfer manager", 1.0),
    ("restore of 256 MiB, 150 ms", "transfer manager", 1.0),
    ("save again", "ml-cache, its hashing alone", 1 / 1.2),
    ("save, one chunk of 512", "s5cmd", 10.0),
)


def goals(tables: list[Table]) -> str:
    """Returns the wanted ratios beside the measured ones."""
    lines = ["| work | beside | wanted | measured | |", "| --- | --- | --- | --- | --- |"]
    for title, name, wanted in GOALS:
        table = next((table for table in tables if table.title.startswith(title)), None)
        peer = table and next((row for row in table.results[1:] if row.name.startswith(name) and row.walls), None)
        if not table or not peer:
            lines.append(f"| {title} | {name} | {wanted:.2f} | not measured | |")
            continue
        ratio = statistics.median(peer.walls) / statistics.median(table.results[0].walls)
        met = "reached" if ratio >= wanted else "**missed**"
        lines.append(f"| {table.title} | {peer.name} | {wanted:.2f} | {ratio:.2f} | {met} |")
    return "\n".join(lines) + "\n"


def first_line(command: list[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True)
    return (found.stdout or found.stderr).strip().splitlines()[0]


def versions(lab: Lab) -> str:
    """Returns the version of each tool, and what the machine is."""
    bin_, python = lab.lab / "bin", str(lab.lab / "venv" / "bin" / "python")
    modules = "import boto3, awscrt; print(boto3.__version__ + ' with awscrt ' + awscrt.__version__)"
    glob = "console.log(require(process.argv[1]).version)"
    package = lab.lab / "glob" / "node_modules" / "@actions" / "glob" / "package.json"
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    numbers = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
               if line.startswith(("cpu family", "model\t"))][:2]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    manager = lab.lab / "transfer-manager" / "version"
    rows = {
        "ml-cache": first_line([lab.binary, "--version"]).removeprefix("ml-cache "),
        "s5cmd": first_line([str(bin_ / "s5cmd"), "version"]),
        "rclone": first_line([str(bin_ / "rclone"), "version"]).removeprefix("rclone "),
        "transfer manager": f"{manager.read_text().strip()} (the example `cp` of aws-sdk-s3-transfer-manager)"
        if manager.is_file()
        else "not installed",
        "boto3's CRT": first_line([python, "-c", modules]),
        "openssl": first_line(["openssl", "version"]),
        "hashFiles": f"@actions/glob {first_line(['node', '-p', glob.replace('console.log', ''), str(package)])}, "
        f"node {first_line(['node', '--version'])}",
        "machine": f"{os.cpu_count()} cores of {cpu.split(':')[1].strip()} (family {', model '.join(numbers)}), "
        f"{memory:.0f} GiB of memory",
        "system": f"{platform.system()} {platform.release()}",
    }
    return "\n".join(["| what | which |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items())])


def page(tables: list[Table], lab: Lab, rounds: int, took: float) -> str:
    """Returns the page."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    trial = f"\n**A trial: all sizes were divided by {lab.scale}. These figures say nothing.**\n"
    trial = trial if lab.scale > 1 else ""
    sink = "a tmpfs with huge pages" if lab.huge else "/dev/shm, without huge pages"
    loss = "The part `loss` drops packets on loopback with `iptables`. There, a packet has up to 64 KiB."
    if not any(table.part == "loss" for table in tables):
        loss = "The part `loss` is missing, because the kernel dropped no packets for this process."
    sections: dict[str, str] = {}
    for table in tables:
        sections[table.part] = sections.get(table.part, "") + "\n" + markdown(table)
    text = "".join(f"\n## `{part}`\n{body}" for part, body in sections.items())
    return f"""# Benchmarks

`make bench` wrote this page on {day}, in {took / 60:.0f} minutes.
Do not edit it.
{trial}
`PART=save make bench` measures one part, and leaves this page as it is.

## How it is measured

- All tools do the same work, in turn, in rounds of one run: {rounds} in all. Each round has another order.
- A figure is that of the whole process: its start, its work, its end. The table shows the median and the range.
- The operating system counts processor time and peak memory (`wait4`).
  No peak is below the 9 MiB of the process that starts the tools.
- The last column but one of a table shows the requests of one round, as the server counted them.
- The server is `benches/stub`, on loopback. It costs almost nothing, so that the client is measured.
  It checks no signature and no digest, and forgets what is saved.
- A line of 30 ms means that the server waits 30 ms before each answer.
  It also limits the rate of a connection, or of all connections together.
- {loss}
- All tools run with their defaults, unless the table names an option.
- To keep the run short, rclone and boto3's CRT are left out over TLS and at 50 MB/s.
- All files are in the page cache. Restores go to {sink}, which is filled and emptied before each round.
- `ml-cache` reads and hashes each file that it saves, and verifies each byte that it restores.
  "Verifies nothing" marks tools that compare no content.
- The ratio in the tables is the time of the tool divided by our time. Above 1, `ml-cache` is faster.
- The part `seaweed` saves and restores with each tool on a real server, and compares every byte.

## Where others need less

{"Not measured in a trial." + chr(10) if lab.scale > 1 else lost(tables)}
## Goals

{"Not measured in a trial." + chr(10) if lab.scale > 1 else goals(tables)}
## Versions

{versions(lab)}
{text}"""
