"""What the GitHub double knows: repositories, runs, pull requests, files, tokens, and the jobs it minted tokens for.

A state document has these keys, all optional; posting one merges it into what is there, item by item.

settings      see DEFAULT_SETTINGS
repositories  {"o/r": {id, private, default_branch, fork, owner_type, refs: {"main": sha, "tags/v1": sha}, truncated_trees}}
runs          [{id, repository, head_branch, head_sha, event, status, conclusion, path, run_attempt, actor,
              head_repository: "o/r" or null, pull_requests: [number], …}]; other keys go to the answer as they are
pulls         [{repository, number, state, merged, merge_commit_sha, head: {ref, sha, repo: "o/r" or null},
              base: {ref, sha}, labels: [name], commits: [sha], events: [name], …}]; other keys likewise
comments      [{repository, number, user: login or null, body, id}] of pull requests; a known id changes that comment
commits       [{repository, sha, message}]
files         [{repository, ref, path, content (text) or content_base64, mode}]; null content removes the file
tokens        {"ghs_x": {kind: installation | fine-grained | classic, repositories: ["o/r"] or "*",
              permissions: {"actions": "read"}, login, expires_at: seconds, rate_limit}}; null removes the token
artifacts     [{repository, run_id, name, files: {path: text or JSON} or content_base64, id, attempt, job, mime_type,
              version, digest, expired, created and expires (seconds), rest: what the REST API shall say otherwise}]
roles         {arn: {subjects: ["repo:o/r:*"], audience, max_session, access_key_id, secret_access_key, session_token}}
"""

import base64
import datetime
import fnmatch
import hashlib
import itertools
import time
import uuid
import zlib
from typing import Any

DEFAULT_SETTINGS: dict[str, Any] = {
    "clock_offset": 0,  # seconds that the double's clock is ahead
    "retention_days": 90,  # of artifacts that ask for nothing else, and the most they may ask for
    "blob_origin": None,  # where signed URLs point; null is the origin the request came to
    "blob_seconds": 600,  # how long the results service's signed URLs live
    "signature_padding": "escaped",  # of signed URLs, as Azure's; "literal" as act's, which Azure's client breaks
    "zip_seconds": 60,  # how long the REST API's download URLs live
    "refinalize": "duplicate",  # finalizing twice makes two artifacts of a name (as GitHub), or is "refused"
    "twirp_case": "snake",  # names in the results service's answers: "snake" (GitHub) or "camel" (act, Gitea)
    "rate_limit": 5000,  # requests per hour and token
    "oidc_seconds": 300,  # life of an id token
    "immutable_subjects": False,  # subjects as of repositories made after 2026-07-15
    "sts_seconds": None,  # life of role credentials, whatever duration was asked for
    "sts_errors": [],  # codes that the next calls fail with, in turn
}


class BadState(ValueError):
    """A state document that cannot be merged."""


def iso(seconds: float, milliseconds: bool = False) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{moment.microsecond // 1000:03d}Z" if milliseconds else f"{text}Z"


def number_of(text: str) -> int:
    """A stable made-up id."""
    return zlib.crc32(text.lower().encode()) % 90_000_000 + 10_000_000


def fake_sha(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


class Job:
    """A job that holds a runtime token."""

    def __init__(self, repository: str, run_id: int, attempt: int, name: str, expires: float):
        self.repository = repository
        self.run_id = run_id
        self.attempt = attempt
        self.name = name
        self.expires = expires
        self.run_backend = self.backend_id(run_id, attempt)
        self.job_backend = self.backend_id(run_id, attempt, name)
        self.environment: str | None = None
        self.oidc_token: str | None = None

    @staticmethod
    def backend_id(*parts) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))))


class State:
    """All of it, in memory. The caller holds the lock."""

    def __init__(self):
        self.settings = dict(DEFAULT_SETTINGS)
        self.repositories: dict[str, dict] = {}
        self.runs: dict[int, dict] = {}
        self.pulls: dict[tuple[str, int], dict] = {}
        self.comments: dict[int, dict] = {}
        self.commits: dict[tuple[str, str], dict] = {}
        self.files: dict[tuple[str, str, str], dict] = {}
        self.tokens: dict[str, dict] = {}
        self.roles: dict[str, dict] = {}
        self.jobs: dict[str, Job] = {}  # by runtime token
        self.sessions: list[dict] = []  # credentials that STS gave
        self.hidden_attempts: set[tuple[int, int]] = set()  # whose artifacts a full re-run removed
        self.ids = itertools.count(1001)

    def now(self) -> float:
        return time.time() + self.settings["clock_offset"]

    # Merging

    def merge(self, document: dict):
        """Merges everything but artifacts, which are the artifact service's."""
        known = {
            "settings",
            "repositories",
            "runs",
            "pulls",
            "comments",
            "commits",
            "files",
            "tokens",
            "artifacts",
            "roles",
        }
        if not isinstance(document, dict) or set(document) - known:
            raise BadState(f"a state document has only the keys {sorted(known)}")
        unknown = set(document.get("settings", {})) - set(DEFAULT_SETTINGS)
        if unknown:
            raise BadState(f"no such settings: {sorted(unknown)}")
        self.settings.update(document.get("settings", {}))
        for name, fields in document.get("repositories", {}).items():
            self.add_repository(name, fields)
        for run in document.get("runs", []):
            self.add_run(run)
        for pull in document.get("pulls", []):
            self.add_pull(pull)
        for comment in document.get("comments", []):
            self.add_comment(comment)
        for commit in document.get("commits", []):
            self.commits[self.known(commit["repository"]), commit["sha"]] = commit
        for file in document.get("files", []):
            self.add_file(file)
        self.set_items(self.tokens, document.get("tokens", {}))
        self.set_items(self.roles, document.get("roles", {}))

    @staticmethod
    def set_items(table: dict, items: dict):
        for key, value in items.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = {**table.get(key, {}), **value}

    def add_repository(self, name: str, fields: dict):
        if name.count("/") != 1:
            raise BadState(f"not a repository: {name!r}")
        owner = name.split("/")[0]
        entry = self.repositories.setdefault(
            name.lower(),
            {
                "full_name": name,
                "id": number_of(name),
                "owner_id": number_of(owner),
                "owner_type": "Organization",
                "private": False,
                "default_branch": "main",
                "fork": False,
                "truncated_trees": False,
                "refs": {},
            },
        )
        refs = {**entry["refs"], **fields.get("refs", {})}
        entry.update(fields, refs=refs)

    def known(self, name: str) -> str:
        """The table key of a repository, which a state document may name before it describes it."""
        if name.lower() not in self.repositories:
            self.add_repository(name, {})
        return name.lower()

    def add_run(self, fields: dict):
        number = fields.get("id") or next(self.ids)
        known = number in self.runs
        if not known:
            repository = self.repositories[self.known(fields["repository"])]
            self.runs[number] = {
                "repository": repository["full_name"],
                "id": number,
                "run_attempt": 1,
                "run_number": len(self.runs) + 1,
                "head_branch": repository["default_branch"],
                "head_sha": fake_sha(f"run {number}"),
                "event": "push",
                "status": "completed",
                "conclusion": "success",
                "path": ".github/workflows/ci.yml",
                "actor": "octocat",
                "head_repository": repository["full_name"],
                "pull_requests": [],
                "created_at": iso(self.now()),
                "updated_at": iso(self.now()),
            }
        run = self.runs[number]
        run.update(fields)
        if run["status"] != "completed" and "conclusion" not in fields:
            run["conclusion"] = None
        self.known(run["repository"])
        if run["head_repository"]:
            self.known(run["head_repository"])

    def add_pull(self, fields: dict):
        key = (self.known(fields["repository"]), fields["number"])
        full_name = self.repositories[key[0]]["full_name"]
        default = self.repositories[key[0]]["default_branch"]
        pull = self.pulls.setdefault(
            key,
            {
                "state": "open",
                "merged": False,
                "merge_commit_sha": None,
                "title": f"Pull request {key[1]}",
                "user": "octocat",
                "labels": [],
                "commits": [],
                "created_at": iso(self.now()),
                "updated_at": iso(self.now()),
                "merged_at": None,
                "head": {"ref": f"topic-{key[1]}", "sha": fake_sha(f"{key} head"), "repo": full_name},
                "base": {"ref": default, "sha": fake_sha(f"{key} base"), "repo": full_name},
            },
        )
        sides = {side: {**pull[side], **fields.get(side, {})} for side in ("head", "base")}
        pull.update(fields, repository=full_name, **sides)
        if pull["merged"]:
            pull.update(state="closed", merged_at=pull["merged_at"] or iso(self.now()))
        if sides["head"]["repo"]:
            self.known(sides["head"]["repo"])

    def add_comment(self, fields: dict) -> dict:
        number = fields.get("id") or next(self.ids)
        full_name = self.repositories[self.known(fields["repository"])]["full_name"]
        comment = self.comments.setdefault(number, {"created_at": iso(self.now()), "user": "octocat"})
        comment.update(fields, id=number, repository=full_name, updated_at=iso(self.now()))
        return comment

    def add_file(self, fields: dict):
        key = (self.known(fields["repository"]), fields["ref"], fields["path"])
        if "content_base64" in fields:
            content = base64.b64decode(fields["content_base64"])
        elif fields.get("content") is None:
            self.files.pop(key, None)
            return
        else:
            content = fields["content"].encode()
        self.files[key] = {"content": content, "mode": fields.get("mode", "100644")}

    # Looking up

    def commit_of(self, repository: dict, ref: str) -> str:
        """The commit that a branch or tag names, else the text itself."""
        if (full := ref.removeprefix("refs/")) in repository["refs"]:
            return repository["refs"][full]
        for prefix in ("refs/heads/", "refs/tags/", "heads/", "tags/"):
            if ref.startswith(prefix):
                ref = ref.removeprefix(prefix)
                break
        return repository["refs"].get(ref, ref)

    def tree_of(self, repository: dict, ref: str) -> dict[str, dict]:
        """The files at a ref by path."""
        wanted = self.commit_of(repository, ref)
        key = repository["full_name"].lower()
        return {
            path: file
            for (name, at, path), file in sorted(self.files.items())
            if name == key and self.commit_of(repository, at) == wanted
        }

    def pulls_of(self, repository: dict) -> list[dict]:
        key = repository["full_name"].lower()
        return [pull for (name, _), pull in sorted(self.pulls.items(), reverse=True) if name == key]

    def comments_of(self, repository: dict, number: int) -> list[dict]:
        """Oldest first."""
        wanted = (repository["full_name"], number)
        comments = [comment for _, comment in sorted(self.comments.items())]
        return [comment for comment in comments if (comment["repository"], comment["number"]) == wanted]

    def runs_of(self, repository: dict) -> list[dict]:
        """Newest first."""
        key = repository["full_name"].lower()
        runs = [run for run in self.runs.values() if run["repository"].lower() == key]
        return sorted(runs, key=lambda run: (run["created_at"] or "", run["id"]), reverse=True)

    def knows_commit(self, repository: dict, sha: str) -> bool:
        key = repository["full_name"].lower()
        return (
            sha in repository["refs"].values()
            or (key, sha) in self.commits
            or any(name == key and ref == sha for name, ref, _ in self.files)
            or any(run["head_sha"] == sha for run in self.runs_of(repository))
            or any(sha in self.shas_of(pull) for pull in self.pulls_of(repository))
        )

    @staticmethod
    def shas_of(pull: dict) -> set:
        return {pull["merge_commit_sha"], pull["head"]["sha"], pull["base"]["sha"], *pull["commits"]}

    def role_allows(self, arn: str, subject: str) -> bool:
        """Without any role in the state every role is there and trusts everyone."""
        if not self.roles:
            return True
        patterns = self.roles.get(arn, {}).get("subjects", ["*"] if arn in self.roles else [])
        return any(fnmatch.fnmatchcase(subject, pattern) for pattern in patterns)
