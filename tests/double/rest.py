"""The REST API of the GitHub double: what a client with a token may see of repositories, runs and artifacts."""

import re
import secrets
from collections.abc import Callable
from urllib.parse import quote, unquote, urlencode

from artifacts import Artifacts
from http_base import Reply, Request
from rest_access import Access, ApiError
from rest_shapes import Shapes, children_of, git_sha, git_tree, repository_json, user
from state import State, iso, number_of

DOCUMENTATION = "https://docs.github.com/rest"
MAX_PAGE = 100
MAX_COMMENT = 65536


class Call:
    """One request, with what routing found out about it."""

    def __init__(
        self,
        request: Request,
        base: str,
        repository: dict,
        parts: dict[str, str],
        shapes: Shapes,
        token: dict | None,
    ):
        self.request = request
        self.base = base
        self.repository = repository
        self.parts = parts
        self.shapes = shapes
        self.token = token

    def number(self, name: str) -> int:
        return int(self.parts[name])

    def query(self, name: str) -> str | None:
        return self.request.query.get(name) or None


class Rest:
    """The service. It answers under `/api/v3`, as GitHub Enterprise Server does, and under `/`, as api.github.com."""

    def __init__(self, state: State, artifacts: Artifacts):
        self.state = state
        self.artifacts = artifacts
        self.access = Access(state)
        actions, contents, pulls, metadata = "actions", "contents", "pull_requests", "metadata"
        self.routes: list[tuple[str, re.Pattern, str, Callable[[Call], Reply]]] = [
            (method, re.compile(f"/repos/(?P<owner>[^/]+)/(?P<repo>[^/]+){path}"), permission, handler)
            for method, path, permission, handler in [
                ("GET", "", metadata, self.get_repository),
                ("GET", "/actions/artifacts", actions, self.list_artifacts),
                ("GET", r"/actions/artifacts/(?P<id>\d+)", actions, self.get_artifact),
                ("DELETE", r"/actions/artifacts/(?P<id>\d+)", actions, self.delete_artifact),
                ("GET", r"/actions/artifacts/(?P<id>\d+)/(?P<format>[^/]+)", actions, self.download_artifact),
                ("GET", "/actions/runs", actions, self.list_runs),
                ("GET", r"/actions/runs/(?P<id>\d+)", actions, self.get_run),
                ("GET", r"/actions/runs/(?P<run>\d+)/artifacts", actions, self.list_artifacts),
                ("GET", "/actions/workflows/(?P<file>[^/]+)/runs", actions, self.list_workflow_runs),
                ("GET", "/commits/(?P<sha>[^/]+)", contents, self.get_commit),
                ("GET", "/commits/(?P<sha>[^/]+)/pulls", pulls, self.list_commit_pulls),
                ("GET", "/pulls", pulls, self.list_pulls),
                ("GET", r"/pulls/(?P<number>\d+)", pulls, self.get_pull),
                ("GET", r"/issues/(?P<number>\d+)/events", "issues|pull_requests", self.list_events),
                ("GET", r"/issues/(?P<number>\d+)/comments", "issues|pull_requests", self.list_comments),
                ("POST", r"/issues/(?P<number>\d+)/comments", "issues|pull_requests", self.create_comment),
                ("PATCH", r"/issues/comments/(?P<id>\d+)", "issues|pull_requests", self.update_comment),
                ("GET", "/contents/?(?P<path>.*)", contents, self.get_contents),
                ("GET", "/git/ref/(?P<ref>.+)", contents, self.get_ref),
                ("GET", "/git/trees/(?P<sha>.+)", contents, self.get_tree),
                ("GET", r"/issues/(?P<number>\d+)/labels", "issues|pull_requests", self.list_labels),
            ]
        ]

    # From request to handler

    def serve(self, request: Request) -> Reply:
        headers = {"X-GitHub-Request-Id": secrets.token_hex(8).upper(), "X-GitHub-Media-Type": "github.v3; format=json"}
        try:
            if not request.header("User-Agent"):
                raise ApiError(403, "Request forbidden by administrative rules. Please send a User-Agent header.")
            token = self.access.token(request)
            headers |= self.access.count(request, token)
            reply = self.dispatch(request, token)
        except ApiError as error:
            headers |= error.headers
            body = {"message": str(error), "documentation_url": DOCUMENTATION, "status": str(error.status)}
            reply = Reply.json(body, error.status)
        reply.headers.update(headers)
        return reply

    def dispatch(self, request: Request, token: dict | None) -> Reply:
        path = request.path.removeprefix("/api/v3")
        base = request.origin + request.path[: len(request.path) - len(path)]
        method = "GET" if request.method == "HEAD" else request.method
        if (method, path) == ("GET", "/user"):
            return Reply.json(user(self.access.person(token)))
        for verb, pattern, permission, handler in self.routes:
            if method == verb and (match := pattern.fullmatch(path)):
                break
        else:
            raise ApiError(404, "Not Found")
        parts = {name: unquote(value) for name, value in match.groupdict().items()}
        repository = self.state.repositories.get(f"{parts['owner']}/{parts['repo']}".lower())
        if repository is None:
            raise ApiError(404, "Not Found")
        level = "read" if method == "GET" else "write"
        self.access.check(repository, token, permission, level, public=handler != self.download_artifact)
        shapes = Shapes(self.state.repositories, self.state.pulls, base)
        return handler(Call(request, base, repository, parts, shapes, token))

    # Pages

    @staticmethod
    def page(call: Call, items: list) -> tuple[list, dict[str, str]]:
        """One page of the items, and the headers that lead to the others."""

        def positive(name: str, default: int) -> int:
            text = call.query(name) or ""
            return max(1, int(text)) if text.isdecimal() else default

        size, page = min(MAX_PAGE, positive("per_page", 30)), positive("page", 1)
        last = max(1, -(-len(items) // size))

        def link(number: int, relation: str) -> str:
            query = urlencode({**call.request.query, "page": number})
            return f'<{call.request.origin}{call.request.path}?{query}>; rel="{relation}"'

        links = [link(min(page - 1, last), "prev")] if page > 1 else []
        links += [link(page + 1, "next"), link(last, "last")] if page < last else []
        links += [link(1, "first")] if page > 1 else []
        return items[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}

    def listing(self, call: Call, items: list, shape: Callable, key: str | None = None) -> Reply:
        page, headers = self.page(call, items)
        rows = [shape(item) for item in page]
        return Reply.json({"total_count": len(items), key: rows} if key else rows, headers=headers)

    # Repositories, runs

    def get_repository(self, call: Call) -> Reply:
        return Reply.json(repository_json(call.repository, call.base))

    def get_run(self, call: Call) -> Reply:
        run = next((run for run in self.state.runs_of(call.repository) if run["id"] == call.number("id")), None)
        if run is None:
            raise ApiError(404, "Not Found")
        return Reply.json(call.shapes.run(call.repository, run))

    def list_runs(self, call: Call, runs: list[dict] | None = None) -> Reply:
        """`status` takes a status or a conclusion."""
        filters = {
            "branch": ["head_branch"],
            "event": ["event"],
            "status": ["status", "conclusion"],
            "head_sha": ["head_sha"],
            "actor": ["actor"],
        }
        found = self.state.runs_of(call.repository) if runs is None else runs
        for name, fields in filters.items():
            if wanted := call.query(name):
                found = [run for run in found if wanted in [run[field] for field in fields]]
        return self.listing(call, found, lambda run: call.shapes.run(call.repository, run), "workflow_runs")

    def list_workflow_runs(self, call: Call) -> Reply:
        """By the file's name or the workflow's number. A workflow is there if a run had it or a file has it."""
        key, wanted = call.repository["full_name"].lower(), call.parts["file"]

        def is_it(path: str | None) -> bool:
            plain = (path or "").split("@")[0]  # some paths name a ref
            return plain == f".github/workflows/{wanted}" or str(number_of(plain)) == wanted

        runs = [run for run in self.state.runs_of(call.repository) if is_it(run["path"])]
        if not runs and not any(name == key and is_it(at) for name, _, at in self.state.files):
            raise ApiError(404, "Not Found")
        return self.list_runs(call, runs)

    # Artifacts

    def shape_artifact(self, call: Call, artifact) -> dict:
        run = self.state.runs.get(artifact.run_id)
        return call.shapes.artifact(call.repository, artifact, run, self.artifacts.expired(artifact))

    def list_artifacts(self, call: Call) -> Reply:
        found = self.artifacts.of_repository(call.repository["full_name"])
        if "run" in call.parts:
            run = self.state.runs.get(call.number("run"))
            if run is None or run["repository"].lower() != call.repository["full_name"].lower():
                raise ApiError(404, "Not Found")
            found = [artifact for artifact in found if artifact.run_id == call.number("run")]
            if call.query("direction") == "asc":
                found.reverse()
        if name := call.query("name"):
            found = [artifact for artifact in found if artifact.name == name]
        return self.listing(call, found, lambda artifact: self.shape_artifact(call, artifact), "artifacts")

    def artifact(self, call: Call):
        found = self.artifacts.of_repository(call.repository["full_name"])
        artifact = next((artifact for artifact in found if artifact.id == call.number("id")), None)
        if artifact is None:
            raise ApiError(404, "Not Found")
        return artifact

    def get_artifact(self, call: Call) -> Reply:
        return Reply.json(self.shape_artifact(call, self.artifact(call)))

    def delete_artifact(self, call: Call) -> Reply:
        self.artifact(call).status = "deleted"
        return Reply(204)

    def download_artifact(self, call: Call) -> Reply:
        artifact = self.artifact(call)
        if call.parts["format"] != "zip":
            raise ApiError(404, "Not Found")
        if self.artifacts.expired(artifact):
            raise ApiError(410, "Artifact has expired")
        seconds = self.state.settings["zip_seconds"]
        return Reply(302, headers={"Location": self.artifacts.download_url(artifact, seconds, call.request.origin)})

    # Commits, pull requests

    def known_commit(self, call: Call) -> str:
        sha = self.state.commit_of(call.repository, call.parts["sha"])
        if not self.state.knows_commit(call.repository, sha):
            raise ApiError(422, f"No commit found for SHA: {sha}")
        return sha

    def get_commit(self, call: Call) -> Reply:
        sha = self.known_commit(call)
        commit = self.state.commits.get((call.repository["full_name"].lower(), sha), {})
        return Reply.json(call.shapes.commit(call.repository, sha, commit.get("message", "A commit")))

    def list_commit_pulls(self, call: Call) -> Reply:
        """Those that have the commit: as their merge, as their head, or among their commits."""
        sha = self.known_commit(call)
        found = [
            pull
            for pull in self.state.pulls_of(call.repository)
            if sha in {pull["merge_commit_sha"], pull["head"]["sha"], *pull["commits"]}
        ]
        return self.listing(call, found, lambda pull: call.shapes.pull(call.repository, pull, full=False))

    def pull(self, call: Call) -> dict:
        pull = self.state.pulls.get((call.repository["full_name"].lower(), call.number("number")))
        if pull is None:
            raise ApiError(404, "Not Found")
        return pull

    def get_pull(self, call: Call) -> Reply:
        return Reply.json(call.shapes.pull(call.repository, self.pull(call), full=True))

    def list_pulls(self, call: Call) -> Reply:
        """`head` is OWNER:BRANCH; only open ones, unless `state` says otherwise."""
        found = self.state.pulls_of(call.repository)
        if (state := call.query("state") or "open") != "all":
            found = [pull for pull in found if pull["state"] == state]
        if head := call.query("head"):
            found = [pull for pull in found if call.shapes.label(pull["head"]) == head]
        return self.listing(call, found, lambda pull: call.shapes.pull(call.repository, pull, full=False))

    def list_events(self, call: Call) -> Reply:
        events = [{"id": number_of(f"event {name}"), "event": name} for name in self.pull(call).get("events", [])]
        return self.listing(call, events, lambda event: event)

    def list_labels(self, call: Call) -> Reply:
        return self.listing(call, call.shapes.labels(call.repository, self.pull(call)), lambda label: label)

    # Comments

    def list_comments(self, call: Call) -> Reply:
        """The oldest first."""
        found = self.state.comments_of(call.repository, self.pull(call)["number"])
        return self.listing(call, found, lambda comment: call.shapes.comment(call.repository, comment))

    def create_comment(self, call: Call) -> Reply:
        number, body = self.pull(call)["number"], self.body_of(call)
        author = self.access.login(call.token)
        fields = {"repository": call.repository["full_name"], "number": number, "user": author, "body": body}
        comment = call.shapes.comment(call.repository, self.state.add_comment(fields))
        return Reply.json(comment, 201, {"Location": comment["url"]})

    def update_comment(self, call: Call) -> Reply:
        """Whoever may write may change the comment of anybody."""
        comment = self.state.comments.get(call.number("id"))
        if comment is None or comment["repository"] != call.repository["full_name"]:
            raise ApiError(404, "Not Found")
        comment.update(body=self.body_of(call), updated_at=iso(self.state.now()))
        return Reply.json(call.shapes.comment(call.repository, comment))

    @staticmethod
    def body_of(call: Call) -> str:
        try:
            document = call.request.json()
        except ValueError:
            raise ApiError(400, "Problems parsing JSON") from None
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(body, str):
            raise ApiError(422, 'Invalid request.\n\n"body" wasn\'t supplied.')
        if not body.strip():
            raise ApiError(422, "Validation Failed: body cannot be blank")
        if len(body) > MAX_COMMENT:
            raise ApiError(422, f"Validation Failed: body is too long (maximum is {MAX_COMMENT} characters)")
        return body

    # Files

    def get_contents(self, call: Call) -> Reply:
        path = call.parts["path"].strip("/")
        ref = call.query("ref") or call.repository["default_branch"]
        files = self.state.tree_of(call.repository, ref)
        if not files and not self.state.knows_commit(call.repository, self.state.commit_of(call.repository, ref)):
            raise ApiError(404, f"No commit found for the ref {ref}")
        if file := files.get(path):
            if "raw" in call.request.header("Accept"):
                return Reply(200, file["content"], {"Content-Type": "application/vnd.github.raw+json; charset=utf-8"})
            return Reply.json(call.shapes.content(call.repository, path, ref, file))
        below = children_of(files, path)
        if not below:
            raise ApiError(404, "Not Found")
        rows = []
        for name in sorted({rest.split("/")[0] for rest in below}):
            whole = f"{path}/{name}" if path else name
            kind, sha, size = (
                ("file", git_sha("blob", below[name]["content"]), len(below[name]["content"]))
                if name in below
                else ("dir", git_tree(children_of(below, name))[0], 0)
            )
            rows.append(call.shapes.entry(call.repository, whole, ref, kind, sha, size))
        return Reply.json(rows)

    def get_ref(self, call: Call) -> Reply:
        """A branch as `heads/NAME`, a tag as `tags/NAME`; never a ref that only begins like that."""
        ref = call.parts["ref"]
        sha = call.repository["refs"].get(ref.removeprefix("heads/"))
        if not ref.startswith(("heads/", "tags/")) or sha is None:
            raise ApiError(404, "Not Found")
        return Reply.json(call.shapes.ref(call.repository, ref, sha))

    def get_tree(self, call: Call) -> Reply:
        """Any value of `recursive` asks for all, even 0 or false."""
        files = self.state.tree_of(call.repository, call.parts["sha"])
        if not files:
            raise ApiError(404, "Not Found")
        sha, entries = git_tree(files)
        if "recursive" not in call.request.query:
            entries = [entry for entry in entries if "/" not in entry["path"]]
        rows = [
            {
                **entry,
                "url": call.shapes.url(
                    call.repository, f"git/{'trees' if entry['type'] == 'tree' else 'blobs'}/{quote(entry['sha'])}"
                ),
            }
            for entry in entries
        ]
        truncated = bool(call.repository["truncated_trees"])
        return Reply.json(
            {
                "sha": sha,
                "url": call.shapes.url(call.repository, f"git/trees/{sha}"),
                "tree": rows[: len(rows) // 2] if truncated else rows,
                "truncated": truncated,
            }
        )
