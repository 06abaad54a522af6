"""What a benchmark works with: files, a stub of S3, a line, and processes that are measured."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MIB = 1 << 20
HERE = Path(__file__).parent
REQUESTS = ("PUT", "GET", "HEAD", "LIST", "POST", "DELETE")


class Failure(Exception):
    """A command failed, or did not do the work."""


@dataclass
class Contender:
    """A tool and the command by which it does the work of a part."""

    name: str
    # The number of the round makes the command, so that no round finds what another one left.
    command: Callable[[int], list[str]]
    env: dict[str, str] = field(default_factory=dict)
    # Runs before each round, unmeasured.
    before: Callable[[int], None] = lambda _: None
    # The bytes that must go over the wire: a tool that finds its work done is not measured.
    moves: int = 0
    # Looks after the first round whether the work was done.
    check: Callable[[], None] = lambda: None


@dataclass
class Result:
    """All rounds of a contender."""

    name: str
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    # From the start of the process to its first request.
    firsts: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failure: str = ""


class Stub:
    """The server of benches/stub. It ends when its standard input ends, so with this process at the latest."""

    def __init__(self, program: Path, directory: Path, tls: tuple[Path, Path] | None = None) -> None:
        directory.mkdir()
        command = [str(program), str(directory), *(str(path) for path in tls or ())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        port = self.process.stdout.readline().strip()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    def ask(self, *words: object) -> str:
        assert self.process.stdin and self.process.stdout
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise Failure(f"the stub ended at: {' '.join(map(str, words))}")
        return answer

    def counts(self) -> dict[str, Any]:
        return json.loads(self.ask("counts"))

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Lab:
    """The place of a benchmark and all that it starts."""

    def __init__(self, place: Path, lab: Path, binary: str, stub: Path, scale: int) -> None:
        self.place, self.lab, self.binary, self.stub_program, self.scale = place, lab, binary, stub, scale
        self.work, self.out, self.stubs = place / "work", place / "fast" / "out", 0
        self.work.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "GITHUB_WORKSPACE": str(self.work),
        }
        # As root, huge pages: without them a restore measures the kernel's page faults. Otherwise /dev/shm.
        fast = place / "fast"
        mount = ["mount", "-t", "tmpfs", "-o", "size=75%,huge=always", "bench", str(fast)]
        fast.mkdir()
        self.huge = os.geteuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0
        if not self.huge:
            fast.rmdir()
            self.shared = Path("/dev/shm", f"ml-cache-bench-{os.getpid()}")
            self.shared.mkdir(mode=0o700)
            fast.symlink_to(self.shared)
        helper = ["python3", "-I", "-S", str(HERE / "measure.py")]
        self.helper = subprocess.Popen(helper, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        assert self.helper.stdin
        self.helper.stdin.close()
        self.helper.wait()
        if self.huge:
            subprocess.run(["umount", "--lazy", str(self.place / "fast")], check=True)
        else:
            shutil.rmtree(self.shared)

    def stub(self, tls: tuple[Path, Path] | None = None) -> Stub:
        self.stubs += 1
        return Stub(self.stub_program, self.place / "fast" / f"stub{self.stubs}", tls)

    def run(self, command: list[str], env: dict[str, str] | None = None) -> dict[str, Any]:
        """Runs a command and returns its measures."""
        log = self.place / "log"
        order = {"command": command, "cwd": str(self.work), "env": self.env | (env or {}), "log": str(log)}
        assert self.helper.stdin and self.helper.stdout
        print(json.dumps(order), file=self.helper.stdin, flush=True)
        result = json.loads(self.helper.stdout.readline())
        if result["code"]:
            tail = log.read_text(errors="replace").strip()[-600:]
            text = f"`{' '.join(command)[:200]}` ended with {result['code']}: {tail}"
            # The page names no path of a machine.
            for path, name in ((self.lab, "LAB"), (self.place, "WORK"), (HERE, "benches")):
                text = text.replace(str(path), name)
            raise Failure(text)
        return result

    def output(self) -> str:
        """Returns what the last command printed."""
        return (self.place / "log").read_text(errors="replace")

    def side_by_side(self, contenders: list[Contender], stub: Stub | None, rounds: int) -> list[Result]:
        """Runs the contenders in turn, in another order each round.

        A tool leaves the machine's memory in some state to the next one, so no tool always follows the same.
        """
        results = [Result(contender.name) for contender in contenders]
        pairs = list(zip(contenders, results, strict=True))
        for number in range(rounds):
            for contender, result in random.Random(number).sample(pairs, len(pairs)):
                if not result.failure:
                    self.once(contender, result, stub, number)
        return results

    def once(self, contender: Contender, result: Result, stub: Stub | None, number: int) -> None:
        try:
            contender.before(number)
            if stub:
                stub.counts()
            measured = self.run(contender.command(number), contender.env)
            if stub:
                result.counts = stub.counts()
                moved = result.counts["in"] + result.counts["out"]
                if moved < contender.moves:
                    raise Failure(f"{moved:,} bytes went over the wire instead of {contender.moves:,}")
                result.firsts.append(max(0.0, float(result.counts["first"]) - measured["moment"]))
            if number == 0:
                contender.check()
        except Failure as failure:
            if contender.name.startswith("ml-cache"):
                raise
            # A peer's failure is shown in its row.
            result.failure = " ".join(str(failure).split())
            print(f"  {contender.name}: {result.failure}", flush=True)
            return
        result.walls.append(measured["wall"])
        result.cpus.append(measured["cpu"])
        result.peaks.append(measured["peak"])

    @contextmanager
    def lossy(self, stub: Stub, share: float) -> Iterator[bool]:
        """Loses this share of the stub's packets, both ways. Tells whether the kernel does so for this process."""
        drop = ["-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"]
        port = stub.url.rpartition(":")[2]
        rules = [["INPUT", "-i", "lo", "-p", "tcp", side, port, *drop] for side in ("--sport", "--dport")]

        def change(action: str) -> bool:
            works = True
            for rule in rules:  # both of them, whatever the first command says
                command = ["iptables", "--wait", action, *rule]
                works &= subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
            return works

        try:
            is_lossy = shutil.which("iptables") is not None and change("--insert")
            if not is_lossy:
                print("this process may not drop packets, so nothing is measured")
            yield is_lossy
        finally:
            if shutil.which("iptables"):
                change("--delete")

    # What the parts work on.

    def size(self, count: int) -> int:
        """Returns a size or a number, made smaller in a trial."""
        return max(1, count // self.scale)

    def fill(self, path: Path, size: int, seed: int) -> Path:
        """Writes bytes that nothing can compress, the same in each run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        cipher = ["openssl", "enc", "-aes-128-ctr", "-nosalt", "-K", f"{seed:032x}", "-iv", "0" * 32]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with path.open("wb") as file, subprocess.Popen([*cipher, "-in", "/dev/zero"], **options) as source:
            assert source.stdout
            left = size
            while left:
                left -= file.write(source.stdout.read(min(left, MIB)))
            source.kill()
        return path

    def warm(self, size: int) -> None:
        """Fills and empties the place of restores: memory that was free for long is slow at its first use."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        piece = bytes(MIB)
        with (self.out / "warm").open("wb") as file:
            for _ in range(size // MIB):
                file.write(piece)
        (self.out / "warm").unlink()

    def equal(self, name: str) -> None:
        """Fails unless a restore brought exactly the files of `work/name`, in whatever directory."""
        wanted = {path.name: path for path in (self.work / name).rglob("*") if path.is_file()}
        found = {path.name: path for path in self.out.rglob("*") if path.is_file()}
        if wanted.keys() != found.keys():
            raise Failure(f"{len(found)} files of {len(wanted)} came back")
        for key, path in wanted.items():
            if subprocess.run(["cmp", "--silent", str(path), str(found[key])]).returncode:
                raise Failure(f"{key} came back with other bytes")

    def certificates(self) -> tuple[Path, Path, Path]:
        """Makes an authority and a certificate for loopback; returns authority, certificate and key."""
        place = self.place / "tls"
        place.mkdir()
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"]
        (place / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        for words in (
            ["req", "-x509", *new, "/CN=bench", "-keyout", "ca.key", "-out", "ca.pem", "-days", "7"],
            ["req", *new, "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "request.pem"],
            ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-days", "7", "-extfile", "names", "-out", "cert.pem"],
        ):
            subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)
        return place / "ca.pem", place / "cert.pem", place / "key.pem"
