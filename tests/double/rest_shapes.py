"""The JSON of the GitHub double's REST API, with the nulls and the omissions that GitHub has."""

import base64
import hashlib
from urllib.parse import quote

from artifacts import Artifact
from state import fake_sha, iso, number_of


def user(login: str | None) -> dict | None:
    if login is None:
        return None
    return {
        "login": login,
        "id": number_of(login),
        "type": "Bot" if login.endswith("[bot]") else "User",
        "site_admin": False,
    }


def repository_reference(repository: dict, base: str) -> dict:
    """As runs and pull requests show it."""
    owner, name = repository["full_name"].split("/")
    return {
        "id": repository["id"],
        "name": name,
        "full_name": repository["full_name"],
        "private": repository["private"],
        "owner": {"login": owner, "id": repository["owner_id"], "type": repository["owner_type"]},
        "fork": repository["fork"],
        "url": f"{base}/repos/{repository['full_name']}",
    }


def repository_json(repository: dict, base: str) -> dict:
    return {
        **repository_reference(repository, base),
        "default_branch": repository["default_branch"],
        "visibility": "private" if repository["private"] else "public",
        "archived": False,
        "disabled": False,
    }


class Shapes:
    """What needs more than the thing itself: the other things, and the address that URLs start with."""

    def __init__(self, repositories: dict[str, dict], pulls: dict, base: str):
        self.repositories = repositories
        self.pulls = pulls
        self.base = base

    def reference(self, full_name: str | None) -> dict | None:
        """None for a repository that is gone."""
        repository = self.repositories.get((full_name or "").lower())
        return repository_reference(repository, self.base) if repository else None

    def url(self, repository: dict, rest: str) -> str:
        return f"{self.base}/repos/{repository['full_name']}/{rest}"

    def run(self, repository: dict, run: dict) -> dict:
        """A run's own keys win, but for those that need translation."""
        url = self.url(repository, f"actions/runs/{run['id']}")
        translated = {
            "repository": repository_reference(repository, self.base),
            "head_repository": self.reference(run["head_repository"]),
            "actor": user(run["actor"]),
            "triggering_actor": user(run.get("triggering_actor", run["actor"])),
            "pull_requests": [self.pull_reference(repository, pull) for pull in run["pull_requests"]],
        }
        path = (run["path"] or "").split("@")[0]
        return {
            "node_id": f"WFR_{run['id']}",
            "name": path.split("/")[-1],
            "display_title": path,
            "workflow_id": number_of(path),
            "check_suite_id": number_of(f"suite {run['id']}"),
            "url": url,
            "artifacts_url": f"{url}/artifacts",
            "jobs_url": f"{url}/jobs",
            "html_url": f"https://github.com/{repository['full_name']}/actions/runs/{run['id']}",
            "workflow_url": self.url(repository, f"actions/workflows/{number_of(path)}"),
            "previous_attempt_url": None,
            "run_started_at": run["created_at"],
            "head_commit": {"id": run["head_sha"], "message": "A commit"},
            "referenced_workflows": [],
            **run,
            **translated,
        }

    def pull_reference(self, repository: dict, pull) -> dict:
        """As a run lists it, from a number or as given."""
        known = self.pulls.get((repository["full_name"].lower(), pull)) if isinstance(pull, int) else None
        if known is None:
            return pull if isinstance(pull, dict) else {"id": pull, "number": pull}

        def side(end: dict) -> dict:
            return {"ref": end["ref"], "sha": end["sha"], "repo": self.short(end["repo"])}

        return {
            "id": number_of(f"pull {pull}"),
            "number": pull,
            "url": self.url(repository, f"pulls/{pull}"),
            "head": side(known["head"]),
            "base": side(known["base"]),
        }

    def short(self, full_name: str | None) -> dict | None:
        whole = self.reference(full_name)
        return {key: whole[key] for key in ("id", "url", "name")} if whole else None

    def pull(self, repository: dict, pull: dict, full: bool) -> dict:
        """Lists leave out `merged` and the counts, which only the pull request itself has."""

        def side(end: dict) -> dict:
            owner = end["repo"].split("/")[0] if end["repo"] else None
            return {
                "label": self.label(end),
                "ref": end["ref"],
                "sha": end["sha"],
                "user": user(owner) if owner else None,
                "repo": self.reference(end["repo"]),
            }

        number = pull["number"]
        answer = {
            "id": number_of(f"pull {number}"),
            "url": self.url(repository, f"pulls/{number}"),
            "locked": False,
            "draft": False,
            "auto_merge": None,
            "closed_at": pull["merged_at"],
            "body": None,
            "author_association": "CONTRIBUTOR",
            "html_url": f"https://github.com/{repository['full_name']}/pull/{number}",
            **pull,
            "user": user(pull["user"]),
            "labels": self.labels(repository, pull),
            "head": side(pull["head"]),
            "base": side(pull["base"]),
        }
        commits = answer.pop("commits")
        merged = answer.pop("merged")
        answer.pop("repository")
        answer.pop("events", None)
        if not full:
            return answer
        return {
            **answer,
            "merged": merged,
            "mergeable": None,
            "mergeable_state": "unknown",
            "commits": len(commits),
            "merged_by": user(pull.get("merged_by", "octocat")) if merged else None,
            "comments": 0,
            "changed_files": 1,
        }

    def comment(self, repository: dict, comment: dict) -> dict:
        number, identity = comment["number"], comment["id"]
        return {
            "id": identity,
            "node_id": f"IC_{identity}",
            "url": self.url(repository, f"issues/comments/{identity}"),
            "html_url": f"https://github.com/{repository['full_name']}/pull/{number}#issuecomment-{identity}",
            "issue_url": self.url(repository, f"issues/{number}"),
            "user": user(comment["user"]),
            "body": comment["body"],
            "created_at": comment["created_at"],
            "updated_at": comment["updated_at"],
            "author_association": "CONTRIBUTOR",
            "performed_via_github_app": None,
        }

    @staticmethod
    def label(end: dict) -> str:
        return f"{(end['repo'] or 'unknown repository').split('/')[0]}:{end['ref']}"

    def labels(self, repository: dict, pull: dict) -> list[dict]:
        return [
            {
                "id": number_of(f"label {name}"),
                "name": name,
                "color": "ededed",
                "default": False,
                "description": None,
                "url": self.url(repository, f"labels/{quote(name, safe='')}"),
            }
            for name in pull["labels"]
        ]

    def artifact(self, repository: dict, artifact: Artifact, run: dict | None, expired: bool) -> dict:
        url = self.url(repository, f"actions/artifacts/{artifact.id}")
        head = self.reference(run["head_repository"]) if run else None
        workflow_run = run and {
            "id": run["id"],
            "repository_id": repository["id"],
            "head_repository_id": head and head["id"],
            "head_branch": run["head_branch"],
            "head_sha": run["head_sha"],
        }
        return {
            "id": artifact.id,
            "node_id": f"MDg6QXJ0aWZhY3Q{artifact.id}",
            "name": artifact.name,
            "size_in_bytes": artifact.size,
            "url": url,
            "archive_download_url": f"{url}/zip",
            "expired": expired,
            "digest": artifact.digest,
            "created_at": iso(artifact.created),
            "updated_at": iso(artifact.created),
            "expires_at": iso(artifact.expires),
            "workflow_run": workflow_run,
            **artifact.rest,
        }

    def content(self, repository: dict, path: str, ref: str, file: dict) -> dict:
        size = len(file["content"])
        text = base64.encodebytes(file["content"]).decode() if size <= 1024 * 1024 else ""
        link = "symlink" if file["mode"] == "120000" else "file"
        return {
            **self.entry(repository, path, ref, link, git_sha("blob", file["content"]), size),
            "content": text,
            "encoding": "base64" if text or not size else "none",
        }

    def entry(self, repository: dict, path: str, ref: str, kind: str, sha: str, size: int) -> dict:
        return {
            "name": path.split("/")[-1],
            "path": path,
            "sha": sha,
            "size": size,
            "type": kind,
            "html_url": None,
            "url": self.url(repository, f"contents/{quote(path)}?ref={quote(ref, safe='')}"),
            "git_url": self.url(repository, f"git/{'trees' if kind == 'dir' else 'blobs'}/{sha}"),
            "download_url": None,
        }

    def ref(self, repository: dict, ref: str, sha: str) -> dict:
        return {
            "ref": f"refs/{ref}",
            "node_id": f"REF_{ref}",
            "url": self.url(repository, f"git/refs/{quote(ref)}"),
            "object": {"type": "commit", "sha": sha, "url": self.url(repository, f"git/commits/{sha}")},
        }

    def commit(self, repository: dict, sha: str, message: str) -> dict:
        author = {"name": "The Octocat", "email": "octocat@example.com", "date": "2026-01-01T00:00:00Z"}
        return {
            "sha": sha,
            "url": self.url(repository, f"commits/{sha}"),
            "author": user("octocat"),
            "committer": user("octocat"),
            "parents": [],
            "commit": {
                "message": message,
                "author": author,
                "committer": author,
                "tree": {"sha": fake_sha(f"tree {sha}")},
            },
        }


# Git objects


def git_sha(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def children_of(files: dict[str, dict], directory: str) -> dict[str, dict]:
    """The files below a directory, by the path from there."""
    start = f"{directory}/" if directory else ""
    return {path.removeprefix(start): file for path, file in files.items() if path.startswith(start)}


def git_tree(files: dict[str, dict], start: str = "") -> tuple[str, list[dict]]:
    """The id of a tree as git computes it, and its entries with all below, in the order of paths."""
    rows, listed = [], []
    for name in sorted({path.split("/")[0] for path in files}):
        path = f"{start}{name}"
        if name in files:
            content, mode = files[name]["content"], files[name]["mode"]
            sha, below = git_sha("blob", content), list[dict]()
            listed.append({"path": path, "mode": mode, "type": "blob", "sha": sha, "size": len(content)})
        else:
            mode = "040000"
            sha, below = git_tree(children_of(files, name), f"{path}/")
            listed.append({"path": path, "mode": mode, "type": "tree", "sha": sha})
        listed.extend(below)
        # Git sorts a directory as if its name ended in a slash, and writes its mode without the leading zero.
        order = (name + ("/" if mode == "040000" else "")).encode()
        rows.append((order, mode.lstrip("0").encode() + b" " + name.encode() + b"\0" + bytes.fromhex(sha)))
    return git_sha("tree", b"".join(row for _, row in sorted(rows))), listed
