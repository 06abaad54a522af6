"""Times ml-cache beside other tools on the same work, one after the other, and prints medians.

Started by scripts/bench, which provides the S3 server and the other tools. Whole processes are timed, start-up
included. Loopback figures compare programs, not networks.
"""

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

MIB = 1 << 20


def timed(command: list[str], cwd: Path) -> tuple[float, float]:
    """Runs a command and returns its wall and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(title: str, runs: int, contenders: dict[str, tuple[list[str], Path, Path | None]]) -> None:
    """Times the contenders in turn; each is a command, where it runs, and what to delete before it."""
    print(f"\n{title}")
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, (command, cwd, remove) in contenders.items():
            if remove:
                shutil.rmtree(remove, ignore_errors=True)
            results[name].append(timed(command, cwd))
    ours = statistics.median(wall for wall, _ in results["ml-cache"])
    for name, times in results.items():
        wall = statistics.median(wall for wall, _ in times)
        cpu = statistics.median(cpu for _, cpu in times)
        print(f"  {name:28} {wall:8.2f} s wall {cpu:8.2f} s cpu   {wall / ours:5.2f} times ours")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--model-mib", type=int, default=1024)
    arguments = parser.parse_args()
    lab = Path(os.environ["ML_CACHE_LAB"])
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    rng = random.Random(1)

    with tempfile.TemporaryDirectory() as place:
        work, out = Path(place, "work"), Path(place, "out")
        for number in range(arguments.files):
            path = work / "data" / f"{number % 200}" / f"{number}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(rng.randrange(1024, 20 * 1024)))
        (work / "models").mkdir()
        for number in range(4):
            with (work / "models" / f"part{number}.bin").open("wb") as file:
                for _ in range(arguments.model_mib // 4):
                    file.write(rng.randbytes(MIB))
        out.mkdir()

        hash_files = Path(place, "hash.mjs")
        module = lab / "glob" / "node_modules" / "@actions" / "glob" / "lib" / "glob.js"
        hash_files.write_text(
            f"import {{ hashFiles }} from '{module.as_uri()}';\nconsole.log(await hashFiles(process.argv[2]));\n"
        )
        os.environ["GITHUB_WORKSPACE"] = str(work)
        node = ["node", str(hash_files)]
        sums = ["sh", "-c", 'find "$0" -type f -print0 | xargs -0 -n 200 -P 2 sha256sum', "data"]
        common = ["--model", "bench", "--namespace", "bench/bench", "--store"]
        plan = [arguments.binary, "plan", *common, f"file://{place}/none", "--data-paths"]
        compare(f"fingerprint of {arguments.files} files of 1 to 20 KiB", arguments.runs, {
            "ml-cache": ([*plan, "data/**"], work, None),
            "hashFiles (@actions/glob)": ([*node, "data/**"], work, None),
            "sha256sum, two at a time": (sums, work, None),
        })
        compare(f"fingerprint of 4 files, {arguments.model_mib} MiB together", arguments.runs, {
            "ml-cache": ([*plan, "models/**"], work, None),
            "hashFiles (@actions/glob)": ([*node, "models/**"], work, None),
            "sha256sum, two at a time": ([*sums[:2], sums[2].replace("-n 200", "-n 1"), "models"], work, None),
        })

        subprocess.run([str(Path(__file__).parent.parent / "scripts" / "s3"), "mb", "bench"], check=True)
        s5cmd = [str(lab / "bin" / "s5cmd"), "--endpoint-url", endpoint]
        # Each save goes to a prefix of its own: the second one would otherwise have nothing to send.
        script = (
            'exec "$0" save --model bench --namespace bench/bench --store "s3://bench/$(date +%s%N)" '
            f"--endpoint-url {endpoint} --data-paths models/part0.bin --model-path models/"
        )
        compare(f"save of 4 files, {arguments.model_mib} MiB together", arguments.runs, {
            "ml-cache": (["sh", "-c", script, arguments.binary], work, None),
            "s5cmd": ([*s5cmd, "cp", "models/", "s3://bench/s5cmd/"], work, None),
        })
        fixed = [*common, "s3://bench/fixed", "--endpoint-url", endpoint]
        first = [arguments.binary, "save", *fixed, "--data-paths", "models/part0.bin", "--model-path", "models/"]
        subprocess.run(first, cwd=work, check=True, stderr=subprocess.DEVNULL)
        restore = [arguments.binary, "restore", *fixed, "--destination", str(out)]
        compare(f"restore of 4 files, {arguments.model_mib} MiB together", arguments.runs, {
            "ml-cache": (restore, work, out / "models"),
            "s5cmd (verifies nothing)": ([*s5cmd, "cp", "s3://bench/s5cmd/*", str(out / "models")], work, out / "models"),
        })
        compare("save again, nothing changed", arguments.runs, {
            "ml-cache": (first, work, None),
            "s5cmd sync": ([*s5cmd, "sync", "models/", "s3://bench/s5cmd/"], work, None),
        })


if __name__ == "__main__":
    main()
