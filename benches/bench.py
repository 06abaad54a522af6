"""Measures ml-cache beside other tools on the same work, in turn, in one run.

Started by scripts/bench, which builds the programs, installs the peers and starts SeaweedFS.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import report
from lab import MIB, Contender, Failure, Lab, Result, Stub
from tools import Tools

GIB = 1 << 30
# A line as S3's: 30 ms before each answer, 90 MB/s for a connection.
LINE = (30, 90_000_000, 0)
THIN = (150, 0, 50_000_000)
GIGABIT = (30, 0, 125_000_000)
CHUNK = 8 * MIB
SMALL_FILES = 5_000
# They are left out over TLS and on the thin line, where they would take minutes.
SLOW = ("rclone", "crt")


class Bench:
    """The parts, in the order of the page. Each returns its tables."""

    def __init__(self, lab: Lab, rounds: int) -> None:
        self.lab, self.rounds = lab, rounds
        self.tables: list[report.Table] = []
        self.part = ""
        lab.fill(lab.work / "input.txt", 1024, 1)

    def data(self, name: str) -> int:
        """Makes the files `work/name` unless they are there; returns their size."""
        lab, place = self.lab, self.lab.work / name
        if not place.exists():
            rng = random.Random(1)
            match name:
                case "one":
                    lab.fill(place / "model.bin", lab.size(GIB), 2)
                case "four":
                    for number in range(4):
                        lab.fill(place / f"part{number}.bin", lab.size(GIB), 3 + number)
                case "quarter":
                    lab.fill(place / "model.bin", lab.size(GIB // 4), 7)
                case "many":
                    for number in range(lab.size(2000)):
                        path = place / f"{number:04}.bin"
                        path.parent.mkdir(exist_ok=True)
                        path.write_bytes(rng.randbytes(500_000))
                case "tree":
                    for number in range(lab.size(SMALL_FILES)):
                        path = place / f"{number % 200:03}" / f"{number:05}.csv"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(rng.randbytes(rng.randrange(1024, 20 * 1024)))
            # Writing back must not go on behind a measurement.
            os.sync()
        return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())

    def measure(
        self, title: str, contenders: list[Contender], size: int = 0, stub: Stub | None = None, rounds: int = 0
    ) -> list[Result]:
        begun = time.monotonic()
        results = self.lab.side_by_side(contenders, stub, rounds or self.rounds)
        table = report.Table(self.part, title, size, results, stub is not None)
        self.tables.append(table)
        print(f"{report.terminal(table)}  ({time.monotonic() - begun:.0f} s)", flush=True)
        return results

    def saved(self, title: str, contenders: list[Contender], size: int, stub: Stub) -> None:
        """Measures savers, each of a store that has nothing yet."""

        def forget(_: int) -> None:
            for prefix in ("new", "peers"):
                stub.ask("remove", f"bench/{prefix}")

        for contender in contenders:
            contender.before, contender.moves = forget, size
        self.measure(title, contenders, size, stub)

    def served(self, stub: Stub, tools: Tools, name: str) -> None:
        """Saves `work/name` with its bytes for our restores, and lets the stub serve the plain files to the peers."""
        for path in (self.lab.work / name).rglob("*"):
            stub.ask("file", f"bench/files/{name}/{path.name}", path)
        stub.ask("keep", 64 * MIB)
        self.lab.run(tools.save("s3://bench/store", name), tools.ours_env)
        stub.ask("keep", 128 << 10)

    # Correctness, on a real server.

    def seaweed(self) -> None:
        """Saves and restores by each tool on SeaweedFS, and compares the bytes."""
        self.lab.fill(self.lab.work / "small" / "model.bin", 64 * MIB + 12345, 8)
        subprocess.run([str(Path(__file__).parent.parent / "scripts" / "s3"), "mb", "bench"], check=True)
        tools = Tools(self.lab, os.environ["AWS_ENDPOINT_URL"])
        savers = tools.savers("small")
        self.measure("save of 64 MiB to SeaweedFS", list(savers.values()), 64 * MIB, rounds=1)
        restorers = tools.restorers("small", "s3://bench/new0", lambda: self.lab.equal("small"), MIB)
        # Here each tool restores its own object.
        for short, contender in restorers.items():
            saver = "s5cmd" if short == "openssl" else short
            command = [word.replace("bench/files/", f"bench/peers/{saver}/") for word in contender.command(0)]
            contender.command = lambda _, command=command: command
        self.measure("restore of it, compared byte for byte", list(restorers.values()), 64 * MIB, rounds=1)

    # Saving.

    def save(self) -> None:
        stub = self.lab.stub()
        tools = Tools(self.lab, stub.url)
        for name, title in (("one", "save of one file of 1 GiB, http"), ("four", "save of four files of 1 GiB, http")):
            size = self.data(name)
            found = tools.savers(name)
            if name == "four":
                del found["rclone"]
            else:
                eight = tools.savers(name, options=("--concurrency", "8"))["manager"]
                eight.name += ", --concurrency 8"
                found["eight"] = eight
            self.saved(title, list(found.values()), size, stub)
        stub.end()

    def save_tls(self) -> None:
        stub, tools = self.secure()
        for name, title in (("one", "save of one file of 1 GiB, TLS"), ("four", "save of four files of 1 GiB, TLS")):
            size = self.data(name)
            found = without(SLOW, tools.savers(name))
            self.saved(title, list(found.values()), size, stub)
        stub.end()

    def secure(self) -> tuple[Stub, Tools]:
        if not (self.lab.place / "tls").exists():
            self.authority, *self.pair = self.lab.certificates()
        stub = self.lab.stub((self.pair[0], self.pair[1]))
        return stub, Tools(self.lab, stub.url, self.authority)

    # Restoring.

    def restored(self, title: str, name: str, stub: Stub, tools: Tools, left_out: tuple[str, ...] = ()) -> None:
        size = self.data(name)
        self.served(stub, tools, name)
        found = without(left_out, tools.restorers(name, "s3://bench/store", lambda: self.lab.equal(name), size))
        for contender in found.values():
            contender.moves = size
        self.measure(title, list(found.values()), size, stub)

    def restore(self) -> None:
        stub = self.lab.stub()
        self.restored("restore of one file of 1 GiB, http", "one", stub, Tools(self.lab, stub.url))
        stub.end()

    def restore_tls(self) -> None:
        stub, tools = self.secure()
        self.restored("restore of one file of 1 GiB, TLS", "one", stub, tools, SLOW)
        stub.end()

    # Lines.

    def line(self) -> None:
        for name, line, words, left_out in (
            ("one", LINE, "1 GiB, 30 ms, 90 MB/s a connection", ()),
            ("quarter", THIN, "256 MiB, 150 ms, 50 MB/s altogether", SLOW),
        ):
            stub = self.lab.stub()
            tools = Tools(self.lab, stub.url)
            size = self.data(name)
            found = without(left_out, tools.savers(name))
            stub.ask("line", *line)
            self.saved(f"save of {words}", list(found.values()), size, stub)
            stub.ask("line", 0, 0, 0)
            self.served(stub, tools, name)
            stub.ask("line", *line)
            found = tools.restorers(name, "s3://bench/store", lambda name=name: self.lab.equal(name), size)
            found = without(("openssl", *left_out), found)
            for contender in found.values():
                contender.moves = size
            self.measure(f"restore of {words}", list(found.values()), size, stub)
            stub.end()

    def loss(self) -> None:
        """Loses packets on the line, if this process may tell the kernel so."""
        stub = self.lab.stub()
        tools = Tools(self.lab, stub.url)
        size, words = self.data("quarter"), "256 MiB, 30 ms, 90 MB/s a connection, 1 % of packets lost"
        self.served(stub, tools, "quarter")
        savers = tools.savers("quarter")
        restorers = tools.restorers("quarter", "s3://bench/store", lambda: self.lab.equal("quarter"), size)
        for contender in restorers.values():
            contender.moves = size
        usual = ("ours", "s5cmd", "manager")
        with self.lab.lossy(stub, 0.01) as is_lossy:
            if is_lossy:
                stub.ask("line", *LINE)
                self.saved(f"save of {words}", [savers[short] for short in usual], size, stub)
                self.measure(f"restore of {words}", [restorers[short] for short in usual], size, stub)
        stub.end()

    # What is there already.

    def unchanged(self) -> None:
        size, stub = self.data("four"), self.lab.stub()
        tools = Tools(self.lab, stub.url)
        self.lab.run(tools.save("s3://bench/store", "four"), tools.ours_env)
        self.lab.run([*tools.s5cmd, "cp", "four/", "s3://bench/sync/"], tools.env)
        none = f"file://{self.lab.place}/none"
        hashing = [self.lab.binary, "plan", "--model", "bench", "--store", none, "--data-paths", "four/**"]
        self.measure(
            "save again, four files of 1 GiB, unchanged",
            [
                Contender("ml-cache", lambda _: tools.save("s3://bench/store", "four"), tools.ours_env),
                Contender("ml-cache, its hashing alone", lambda _: hashing),
                Contender(
                    "s5cmd sync (compares times and sizes)",
                    lambda _: [*tools.s5cmd, "sync", "four/", "s3://bench/sync/"],
                    tools.env,
                ),
            ],
            size,
            stub,
        )
        stub.end()

    def changed(self) -> None:
        size, stub = self.data("four"), self.lab.stub()
        tools = Tools(self.lab, stub.url)
        ours = tools.save("s3://bench/store", "four", data="changing.txt")
        (self.lab.work / "changing.txt").write_text("first\n")
        self.lab.run(ours, tools.ours_env)

        def change(number: int) -> None:
            """Changes one chunk, and the data that the model was trained from."""
            word = os.urandom(8)
            with (self.lab.work / "four" / "part2.bin").open("r+b") as file:
                file.seek(self.lab.size(GIB) // 2)
                file.write(word)
            (self.lab.work / "changing.txt").write_text(f"{number} {word.hex()}\n")

        stub.ask("line", *GIGABIT)
        contenders = [
            Contender("ml-cache", lambda _: ours, tools.ours_env, before=change),
            Contender("s5cmd (copies all)", lambda _: [*tools.s5cmd, "cp", "four/", "s3://bench/peers/"], tools.env),
        ]
        self.measure("save, one chunk of 512 changed, 30 ms, 1 Gb/s altogether", contenders, size, stub)
        stub.end()

    # Planning.

    def plan(self) -> None:
        stub = self.lab.stub()
        tools = Tools(self.lab, stub.url)
        self.data("one")
        self.lab.run(tools.save("s3://bench/store", "one"), tools.ours_env)
        wide = self.lab.size(17_500)
        self.forge(stub, tools, wide)
        blobs = -(-self.lab.size(GIB) // CHUNK)
        stub.ask("line", 30, 0, 0)
        for store, count in (("s3://bench/store", blobs), ("s3://bench/wide", wide)):
            contender = Contender(
                "ml-cache plan", lambda _, store=store: tools.plan(store), tools.ours_env, check=self.hit
            )
            self.measure(f"plan on a hit of {count:,} blobs, 30 ms a request", [contender], 0, stub)
        stub.end()

    def hit(self) -> None:
        if '"cache-hit":true' not in self.lab.output():
            raise Failure(f"the plan was no hit: {self.lab.output()[:300]}")

    def forge(self, stub: Stub, tools: Tools, count: int) -> None:
        """Puts a model of many blobs into the stub, by docs/formats.md: real ones would take 140 GB."""
        (self.lab.work / "tiny").mkdir()
        self.lab.fill(self.lab.work / "tiny" / "model.bin", 100, 9)
        self.lab.run(tools.save("s3://bench/wide", "tiny"), tools.ours_env)
        files, each, rng = [], 8000, random.Random(2)
        names = [rng.randbytes(32) for _ in range(count)]
        for name in names:
            key = f"bench/wide/v1/blobs/{name.hex()[:2]}/{name.hex()}"
            stub.ask("claim", key, CHUNK, base64.b64encode(name).decode())
        for number in range(0, count, each):
            parts = [{"blob": name.hex(), "offset": 0, "length": CHUNK} for name in names[number : number + each]]
            path = f"tiny/part{number // each}.bin"
            files.append({"path": path, "size": CHUNK * len(parts), "mode": "644", "parts": parts})
        manifest = compact({"schema": "ml-cache/manifest/v1", "files": files, "links": [], "dirs": []})
        digest = hashlib.sha256(manifest).hexdigest()
        stub.ask("keep", 64 * MIB)
        if len(manifest) > MIB:
            put(f"{stub.url}/bench/wide/v1/manifests/{digest}.json.zst", zstandard(manifest))
        else:
            put(f"{stub.url}/bench/wide/v1/manifests/{digest}.json", manifest)
        prefix = "wide/v1/trusted/bench/bench/bench/pointers/"
        with urllib.request.urlopen(f"{stub.url}/bench?list-type=2&prefix={prefix}") as answer:
            key = answer.read().decode().split("<Key>")[1].split("<")[0]
        with urllib.request.urlopen(f"{stub.url}/bench/{key}") as answer:
            pointer = json.load(answer)
        pointer["manifest"] = {"digest": f"sha256:{digest}", "size": len(manifest)}
        pointer |= {"files": len(files), "bytes": CHUNK * count}
        put(f"{stub.url}/bench/{key}", compact(pointer))

    # Many files, hashing, starting.

    def many(self) -> None:
        stub = self.lab.stub()
        tools = Tools(self.lab, stub.url)
        size = self.data("many")
        found = list(tools.savers("many").values())
        count = f"{self.lab.size(2000):,} files of 500 kB"
        self.saved(f"save of {count}, http", found, size, stub)
        self.restored(f"restore of {count}, http", "many", stub, tools)
        size = self.data("tree")
        found = tools.savers("tree")
        title = f"save of {self.lab.size(SMALL_FILES):,} files of 1 to 20 KiB, http"
        self.saved(title, [found["ours"], found["s5cmd"], found["manager"]], size, stub)
        stub.end()

    def hashing(self) -> None:
        hash_files = self.lab.place / "hash.mjs"
        module = self.lab.lab / "glob" / "node_modules" / "@actions" / "glob" / "lib" / "glob.js"
        hash_files.write_text(
            f"import {{ hashFiles }} from '{module.as_uri()}';\nconsole.log(await hashFiles(process.argv[2]));\n"
        )
        none = f"file://{self.lab.place}/none"
        for name, title, at_once in (
            ("tree", f"fingerprint of {self.lab.size(SMALL_FILES):,} files of 1 to 20 KiB", 200),
            ("four", "fingerprint of four files of 1 GiB", 1),
            ("one", "fingerprint of one file of 1 GiB", 1),
        ):
            size = self.data(name)
            each = f'find "$0" -type f -print0 | xargs -0 -n {at_once} -P 2'
            ours = [self.lab.binary, "plan", "--model", "bench", "--store", none, "--data-paths", f"{name}/**"]
            contenders = [Contender("ml-cache", lambda _, ours=ours: ours)]
            # `hashFiles` reads files in turn, so four large files only take it four times as long as one.
            if name != "four":
                command = ["node", str(hash_files), f"{name}/**"]
                contenders.append(Contender("hashFiles", lambda _, command=command: command))
            shell = ["sh", "-c", f"{each} openssl dgst -sha256", name]
            contenders.append(Contender("openssl, two at a time", lambda _, shell=shell: shell))
            self.measure(title, contenders, size)

    def start(self) -> None:
        stub = self.lab.stub()
        tools = Tools(self.lab, stub.url)
        self.lab.fill(self.lab.work / "tiny-start" / "model.bin", 1000, 10)
        self.served(stub, tools, "tiny-start")
        out = str(self.lab.out / "model.bin")
        source = "s3://bench/files/tiny-start/model.bin"
        found = tools.restorers("tiny-start", "s3://bench/store", lambda: None, MIB)
        contenders = [
            Contender("ml-cache plan", lambda _: tools.plan("s3://bench/store"), tools.ours_env),
            Contender("s5cmd", lambda _: [*tools.s5cmd, "cp", source, out], tools.env),
            found["rclone"],
            found["manager"],
            found["crt"],
        ]
        for contender in contenders:
            contender.name = contender.name.partition(" (")[0]
            contender.before, contender.check = (lambda _: self.lab.warm(MIB)), lambda: None
        results = self.measure("one small object, no line", contenders, 0, stub, rounds=4 * self.rounds)
        self.tables.append(report.starts(self.part, results))
        print(report.terminal(self.tables[-1]), flush=True)
        stub.end()


PARTS: dict[str, Callable[[Bench], None]] = {
    "seaweed": Bench.seaweed,
    "save": Bench.save,
    "save-tls": Bench.save_tls,
    "restore": Bench.restore,
    "restore-tls": Bench.restore_tls,
    "line": Bench.line,
    "loss": Bench.loss,
    "unchanged": Bench.unchanged,
    "changed": Bench.changed,
    "plan": Bench.plan,
    "many": Bench.many,
    "hashing": Bench.hashing,
    "start": Bench.start,
}


def without(left_out: tuple[str, ...], contenders: dict[str, Contender]) -> dict[str, Contender]:
    return {short: contender for short, contender in contenders.items() if short not in left_out}


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def put(url: str, body: bytes) -> None:
    urllib.request.urlopen(urllib.request.Request(url, body, method="PUT")).close()


def zstandard(data: bytes) -> bytes:
    """Returns a Zstandard frame of raw blocks: a window of 1 MiB, nothing compressed."""
    frame = bytearray(b"\x28\xb5\x2f\xfd\x00\x50")
    step = 128 << 10
    for start in range(0, len(data), step):
        block = data[start : start + step]
        frame += ((len(block) << 3) | (start + step >= len(data))).to_bytes(3, "little") + block
    return bytes(frame)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--stub", required=True, type=Path)
    parser.add_argument("--page", required=True, type=Path)
    parser.add_argument("--parts", default="", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=int, default=1, help="divide all sizes, for a trial")
    arguments = parser.parse_args()
    parts = arguments.parts.split() or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part is named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    place = Path(tempfile.mkdtemp(prefix="ml-cache-bench-", dir=os.environ.get("ML_CACHE_BENCH_DIR")))
    begun = time.monotonic()
    # So that a run that is ended leaves nothing.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        lab = Lab(place, Path(os.environ["ML_CACHE_LAB"]), arguments.binary, arguments.stub, arguments.scale)
        try:
            bench = Bench(lab, arguments.rounds)
            for part in parts:
                bench.part = part
                print(f"\n=== {part}", flush=True)
                PARTS[part](bench)
            if parts == list(PARTS):
                took = time.monotonic() - begun
                arguments.page.write_text(report.page(bench.tables, lab, arguments.rounds, took))
                print(f"\nwrote {arguments.page} after {took / 60:.0f} minutes")
            failed = sum(bool(result.failure) for table in bench.tables for result in table.results)
            if failed:
                sys.exit(f"bench: {failed} rows failed")
        finally:
            lab.close()
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
