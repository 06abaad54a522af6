#!/usr/bin/env python3
"""Tests of the GitHub double's REST API, as its clients see it."""

import base64
import io
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import zipfile

from double_case import Answer, DoubleTest

READER = {"Authorization": "Bearer reads-models"}
SCHEMA = {"schema": "ml-cache/pointer/v1"}


class RestApi(DoubleTest):
    def setUp(self):
        super().setUp()
        self.control(
            "state",
            {
                "repositories": {"org/models": {"id": 42, "private": True, "refs": {"main": "c0ffee"}}, "org/open": {}},
                "tokens": {
                    "reads-models": {
                        "repositories": ["org/models"],
                        "rate_limit": 1000,
                        "permissions": dict.fromkeys(("actions", "contents", "pull_requests"), "read"),
                    },
                    "no-actions": {"repositories": ["org/models", "org/open"], "permissions": {"contents": "read"}},
                    "other": {"kind": "fine-grained", "repositories": ["org/open"]},
                },
            },
        )

    def get(self, path: str, token: str | None = "reads-models") -> Answer:
        return self.call("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})

    def test_tokens(self):
        listing, download = "/repos/{}/actions/artifacts", "/repos/{}/actions/artifacts/7/zip"
        self.control("state", {"artifacts": [{"repository": "org/open", "run_id": 9, "id": 7, "name": "p"}]})
        for path, repository, token, status, message in [
            (listing, "org/models", "reads-models", 200, None),
            (listing, "ORG/Models", "reads-models", 200, None),
            (listing, "org/models", "unknown", 401, "Bad credentials"),
            (listing, "org/models", "no-actions", 403, "Resource not accessible by integration"),
            (listing, "org/models", "other", 404, "Not Found"),
            (listing, "org/models", None, 404, "Not Found"),
            (listing, "org/nothing", "reads-models", 404, "Not Found"),
            (listing, "org/open", None, 200, None),
            (listing, "org/open", "no-actions", 200, None),
            (download, "org/open", None, 401, "Requires authentication"),
            (download, "org/open", "no-actions", 403, "Resource not accessible by integration"),
            (download, "org/open", "other", 403, "Resource not accessible by personal access token"),
        ]:
            for prefix in ("", "/api/v3"):
                answer = self.get(prefix + path.format(repository), token)
                self.assertEqual((answer.status, answer.json().get("message")), (status, message), (path, token))

    def test_artifacts_with_their_nulls(self):
        self.control(
            "state",
            {
                "runs": [{"id": 10, "repository": "org/models", "head_repository": None, "head_branch": None}],
                "artifacts": [
                    {
                        "repository": "org/models",
                        "run_id": 10,
                        "name": "p",
                        "files": {"pointer.json": SCHEMA},
                        "created": 2,
                    },
                    {
                        "repository": "org/models",
                        "run_id": 10,
                        "name": "p",
                        "digest": None,
                        "expired": True,
                        "created": 1,
                        "rest": {"workflow_run": None, "created_at": None},
                    },
                    {"repository": "org/models", "run_id": 11, "name": "q", "created": 3},
                ],
            },
        )
        answer = self.get("/repos/org/models/actions/artifacts?name=p").json()
        self.assertEqual(answer["total_count"], 2)
        new, old = answer["artifacts"]
        self.assertEqual((new["workflow_run"]["repository_id"], new["workflow_run"]["head_repository_id"]), (42, None))
        self.assertEqual(
            [old[key] for key in ("digest", "workflow_run", "created_at", "expired")], [None, None, None, True]
        )
        self.assertEqual(self.get("/repos/org/models/actions/runs/11/artifacts").json()["artifacts"][0]["name"], "q")
        redirect = self.get(f"/api/v3/repos/org/models/actions/artifacts/{new['id']}/zip")
        self.assertEqual(redirect.status, 302)
        self.assertEqual(self.call("GET", redirect.headers["Location"], headers=READER).status, 403)
        content = self.call("GET", redirect.headers["Location"]).body
        self.assertEqual(json.loads(zipfile.ZipFile(io.BytesIO(content)).read("pointer.json")), SCHEMA)
        self.assertEqual(self.get(f"/repos/org/models/actions/artifacts/{old['id']}/zip").status, 410)

    def test_pages(self):
        self.control("state", {"artifacts": [{"repository": "org/models", "run_id": 1, "name": "p"}] * 5})
        page = self.get("/api/v3/repos/org/models/actions/artifacts?per_page=2&page=2")
        self.assertEqual((page.json()["total_count"], len(page.json()["artifacts"])), (5, 2))
        for number, relation in [(1, "prev"), (3, "next"), (3, "last"), (1, "first")]:
            link = (
                f'<{self.origin}/api/v3/repos/org/models/actions/artifacts?per_page=2&page={number}>; rel="{relation}"'
            )
            self.assertIn(link, page.headers["Link"])
        self.assertNotIn("Link", self.get("/repos/org/models/actions/artifacts").headers)

    def test_runs(self):
        self.control(
            "state",
            {
                "runs": [
                    {"id": 1, "repository": "org/models", "head_sha": "aa", "path": ".github/workflows/train.yml@main"},
                    {
                        "id": 2,
                        "repository": "org/models",
                        "head_branch": "topic",
                        "event": "pull_request",
                        "conclusion": "failure",
                    },
                    {"id": 3, "repository": "org/models", "head_repository": "fork/models", "status": "in_progress"},
                ]
            },
        )
        for query, wanted in [
            ("", [3, 2, 1]),
            ("branch=topic", [2]),
            ("event=push", [3, 1]),
            ("status=success", [1]),
            ("status=in_progress", [3]),
            ("head_sha=aa", [1]),
        ]:
            runs = self.get(f"/repos/org/models/actions/runs?{query}").json()["workflow_runs"]
            self.assertEqual(sorted(run["id"] for run in runs), sorted(wanted), query)
        runs = self.get("/repos/org/models/actions/workflows/train.yml/runs").json()["workflow_runs"]
        self.assertEqual([run["id"] for run in runs], [1])
        self.assertEqual(self.get("/repos/org/models/actions/workflows/none.yml/runs").status, 404)
        run = self.get("/repos/org/models/actions/runs/3").json()
        self.assertEqual((run["head_repository"]["full_name"], run["conclusion"]), ("fork/models", None))
        self.assertEqual(self.get("/repos/org/open/actions/runs/3").status, 404)

    def test_pull_requests(self):
        self.control(
            "state",
            {
                "pulls": [
                    {
                        "repository": "org/models",
                        "number": 5,
                        "merged": True,
                        "merge_commit_sha": "bb",
                        "labels": ["retrain"],
                        "head": {"sha": "aa", "repo": None},
                        "commits": ["a0", "aa"],
                    }
                ]
            },
        )
        for sha in ("bb", "aa", "a0"):
            pull = self.get(f"/repos/org/models/commits/{sha}/pulls").json()[0]
            self.assertEqual((pull["number"], pull["head"]["repo"]), (5, None))
            self.assertNotIn("merged", pull)
        self.assertEqual(self.get("/repos/org/models/commits/dead/pulls").status, 422)
        self.assertTrue(self.get("/repos/org/models/pulls/5").json()["merged"])
        self.assertEqual(self.get("/repos/org/models/issues/5/labels").json()[0]["name"], "retrain")

    def write(self, method: str, path: str, fields, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self.call(method, path, json.dumps(fields), headers)

    def test_comments(self):
        comments, one = "/repos/org/models/issues/5/comments", "/repos/org/models/issues/comments/{}"
        job = {"repositories": ["org/models"], "permissions": {"pull_requests": "write"}}
        person = {**job, "kind": "fine-grained", "login": "hubot"}
        self.control(
            "state",
            {
                "pulls": [{"repository": "org/models", "number": number} for number in (5, 6)],
                "comments": [{"repository": "org/models", "number": 5, "user": None, "body": "first"}],
                "tokens": {"job": job, "person": person},
            },
        )
        created = self.write("POST", comments, {"body": "from a job"}, "job")
        self.assertEqual((created.status, created.json()["user"]["type"]), (201, "Bot"))
        self.assertEqual(created.headers["Location"], created.json()["url"])
        self.assertEqual(self.write("POST", comments, {"body": "of a person"}, "person").status, 201)
        changed = self.write("PATCH", one.format(created.json()["id"]), {"body": "changed"}, "person")
        self.assertEqual((changed.status, changed.json()["user"]["login"]), (200, "github-actions[bot]"))
        found = [((entry["user"] or {}).get("login"), entry["body"]) for entry in self.get(comments).json()]
        wanted = [(None, "first"), ("github-actions[bot]", "changed"), ("hubot", "of a person")]
        self.assertEqual(found, wanted)
        page = self.get(f"{comments}?per_page=2&page=2")
        self.assertEqual([entry["body"] for entry in page.json()], ["of a person"])
        self.assertIn(f'{comments}?per_page=2&page=1>; rel="prev"', page.headers["Link"])
        self.assertEqual(self.get("/repos/org/models/issues/6/comments").json(), [])
        self.assertEqual(len(self.control("state")["comments"]), 3)

    def test_comments_that_are_refused(self):
        comments = "/repos/{}/issues/5/comments"
        job = {"repositories": ["org/models"], "permissions": {"issues": "write"}}
        self.control(
            "state",
            {
                "pulls": [{"repository": name, "number": 5} for name in ("org/models", "org/open")],
                "comments": [{"repository": "org/open", "number": 5, "body": "elsewhere", "id": 7}],
                "tokens": {"job": job},
            },
        )
        for repository, token, body, status in [
            ("org/models", "job", {"body": "x" * 65536}, 201),
            ("org/models", "job", {"body": "x" * 65537}, 422),
            ("org/models", "job", {"body": " "}, 422),
            ("org/models", "job", {}, 422),
            ("org/models", "reads-models", {"body": "x"}, 403),
            ("org/models", "other", {"body": "x"}, 404),
            ("org/open", "no-actions", {"body": "x"}, 403),
            ("org/open", "job", {"body": "x"}, 403),
            ("org/models", "unknown", {"body": "x"}, 401),
        ]:
            answer = self.write("POST", comments.format(repository), body, token)
            self.assertEqual(answer.status, status, (repository, token, answer.body))
        answer = self.call("POST", comments.format("org/models"), "{", {"Authorization": "Bearer job"})
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.write("POST", "/repos/org/models/issues/9/comments", {"body": "x"}, "job").status, 404)
        self.assertEqual(self.write("PATCH", "/repos/org/models/issues/comments/7", {"body": "x"}, "job").status, 404)
        self.assertEqual(self.get(comments.format("org/open"), None).status, 200)
        self.assertEqual(self.get(comments.format("org/models"), "no-actions").status, 403)

    def test_the_person_of_a_token(self):
        for token, status, login in [
            ("other", 200, "octocat"),
            ("reads-models", 403, None),
            ("unknown", 401, None),
            (None, 401, None),
        ]:
            answer = self.get("/user", token)
            self.assertEqual((answer.status, answer.json().get("login")), (status, login), token)

    def test_files(self):
        files = {"a/b.txt": "x\n", "a.txt": "", "a-b": "y", "a/c/d": "z", "w.yml": "on: push\n"}
        self.control(
            "state",
            {
                "files": [
                    {"repository": "org/models", "ref": "c0ffee", "path": path, "content": text}
                    for path, text in files.items()
                ]
            },
        )
        for ref in ("?ref=main", "?ref=refs/heads/main", "?ref=c0ffee", ""):
            file = self.get(f"/repos/org/models/contents/a/b.txt{ref}").json()
            self.assertEqual(base64.b64decode(file["content"]), b"x\n")
        raw = self.call(
            "GET", "/repos/org/models/contents/w.yml", b"", {**READER, "Accept": "application/vnd.github.raw+json"}
        )
        self.assertEqual(raw.body, b"on: push\n")
        self.assertEqual(self.get("/repos/org/models/contents/nothing").status, 404)
        names = [(entry["name"], entry["type"]) for entry in self.get("/repos/org/models/contents/a").json()]
        self.assertEqual(names, [("b.txt", "file"), ("c", "dir")])
        tree = self.get("/repos/org/models/git/trees/main?recursive=1").json()
        self.assertEqual({e["path"] for e in tree["tree"]}, {*files, "a", "a/c"})
        if shutil.which("git"):
            self.assertEqual(tree["sha"], self.written_by_git(files))

    def test_branches_and_tags(self):
        self.control("state", {"repositories": {"org/models": {"refs": {"tags/v1": "beef", "release/1": "f00d"}}}})
        for ref, sha in (("heads/main", "c0ffee"), ("heads/release/1", "f00d"), ("tags/v1", "beef")):
            answer = self.get(f"/repos/org/models/git/ref/{ref}").json()
            self.assertEqual((answer["ref"], answer["object"]["sha"]), (f"refs/{ref}", sha))
        for ref in ("tags/main", "heads/v1", "tags/v", "heads/release", "main"):
            self.assertEqual(self.get(f"/repos/org/models/git/ref/{ref}").status, 404, ref)

    @staticmethod
    def written_by_git(files: dict[str, str]) -> str:
        with tempfile.TemporaryDirectory() as directory:
            for path, text in files.items():
                file = pathlib.Path(directory, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            for command in (["init", "--quiet"], ["add", "."], ["write-tree"]):
                done = subprocess.run(["git", *command], cwd=directory, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def test_limits_and_manners(self):
        first = self.get("/repos/org/models")
        self.assertEqual((first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]), ("1000", "999"))
        self.control("state", {"tokens": {"reads-models": {"rate_limit": 1}}})
        answer = self.get("/repos/org/models")
        self.assertEqual((answer.status, answer.headers["x-ratelimit-remaining"]), (403, "0"))
        self.assertEqual(self.call("GET", "/repos/org/open", headers={"User-Agent": ""}).status, 403)
        self.assertEqual(self.get("/nothing", "other").status, 404)


if __name__ == "__main__":
    unittest.main()
