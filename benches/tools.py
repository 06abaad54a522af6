"""The tools of the benchmark: how each saves and restores a directory, with its own defaults."""

from collections.abc import Callable
from pathlib import Path

from lab import Contender, Lab

UNVERIFIED = " (verifies nothing)"


class Tools:
    """Commands for one server."""

    def __init__(self, lab: Lab, url: str, authority: Path | None = None) -> None:
        self.lab, self.url = lab, url
        self.env = {"AWS_ENDPOINT_URL": url}
        self.ours_env = dict(self.env)
        if authority:
            self.env["SSL_CERT_FILE"] = str(authority)
            self.ours_env["AWS_CA_BUNDLE"] = str(authority)
        bin_ = lab.lab / "bin"
        self.s5cmd = [str(bin_ / "s5cmd"), "--endpoint-url", url]
        remote = f":s3,provider=Other,env_auth,no_check_bucket,region=us-east-1,endpoint='{url}':"
        self.rclone = [str(bin_ / "rclone"), "--config", "", "copy"]
        self.remote = remote
        self.manager = [str(lab.lab / "transfer-manager" / "bin" / "cp")]
        self.crt = [str(lab.lab / "venv" / "bin" / "python"), str(Path(__file__).parent / "crt.py")]

    def common(self, store: str) -> list[str]:
        return ["--model", "bench", "--namespace", "bench/bench", "--store", store, "--endpoint-url", self.url]

    def save(self, store: str, name: str, data: str = "input.txt") -> list[str]:
        """Returns our command that saves `work/name`."""
        return [self.lab.binary, "save", *self.common(store), "--data-paths", data, "--model-path", f"{name}/"]

    def plan(self, store: str, data: str = "input.txt") -> list[str]:
        return [self.lab.binary, "plan", "--json", *self.common(store), "--data-paths", data]

    def restore(self, store: str) -> list[str]:
        return [self.lab.binary, "restore", *self.common(store), "--destination", str(self.lab.out)]

    def is_file(self, name: str) -> str | None:
        """Returns the name of the only file of a directory."""
        files = list((self.lab.work / name).iterdir())
        return files[0].name if len(files) == 1 else None

    def savers(self, name: str, *, options: tuple[str, ...] = ()) -> dict[str, Contender]:
        """Returns who saves `work/name`, by short names."""
        only, mirror = self.is_file(name), f"{self.remote}bench/peers/rclone/{name}"
        managed = f"s3://bench/peers/manager/{name}"
        manager = [f"{name}/{only}", f"{managed}/{only}"] if only else [name, managed, "--recursive"]
        copy = [*self.s5cmd, "cp", f"{name}/", f"s3://bench/peers/s5cmd/{name}/"]
        found = {
            "ours": Contender("ml-cache", lambda n: self.save(f"s3://bench/new{n}", name), self.ours_env),
            "s5cmd": Contender("s5cmd", lambda _: copy, self.env),
            "rclone": Contender("rclone", lambda _: [*self.rclone, name, mirror], self.env),
            "manager": Contender("transfer manager", lambda _: [*self.manager, *manager, *options], self.env),
        }
        if only:
            run_time = [*self.crt, f"{name}/{only}", f"s3://bench/peers/crt/{name}/{only}"]
            found["crt"] = Contender("boto3's CRT", lambda _: run_time, self.env)
        return found

    def restorers(self, name: str, store: str, check: Callable[[], None], size: int) -> dict[str, Contender]:
        """Returns who restores `work/name` from `store` and from `s3://bench/files/name`."""
        only, out = self.is_file(name), self.lab.out
        source = f"s3://bench/files/{name}"
        copy = [*self.s5cmd, "cp", f"{source}/*", f"{out}/{name}/"]
        hashes = '"$@" && find "$0" -type f -print0 | xargs -0 -n 50 -P 2 openssl dgst -sha256'
        manager = [f"{source}/{only}", f"{out}/{only}"] if only else [source, f"{out}/{name}", "--recursive"]
        found = {
            "ours": Contender("ml-cache (verifies every byte)", lambda _: self.restore(store), self.ours_env),
            "s5cmd": Contender("s5cmd" + UNVERIFIED, lambda _: copy, self.env),
            "openssl": Contender("s5cmd, then openssl", lambda _: ["sh", "-c", hashes, str(out), *copy], self.env),
            "rclone": Contender(
                "rclone" + UNVERIFIED,
                lambda _: [*self.rclone, f"{self.remote}bench/files/{name}", f"{out}/{name}"],
                self.env,
            ),
            "manager": Contender("transfer manager" + UNVERIFIED, lambda _: [*self.manager, *manager], self.env),
        }
        if only:
            found["crt"] = Contender(
                "boto3's CRT" + UNVERIFIED, lambda _: [*self.crt, f"{source}/{only}", f"{out}/{only}"], self.env
            )
        for contender in found.values():
            contender.before = lambda _: self.lab.warm(size)
            contender.check = check
        return found
