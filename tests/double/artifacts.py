"""The results service of the GitHub double: artifacts as jobs create, list and read them over Twirp."""

import base64
import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from blobs import Blobs
from http_base import Reply, Request
from state import BadState, Job, State, iso
from twirp import IDS, METHODS, STATUS, TwirpError, camel, decode

PREFIX = "/twirp/github.actions.results.api.v1.ArtifactService/"
ZIP = "application/zip"
MIME_TYPES = re.compile(
    r"(text|image|audio|video|font)/[\w.+-]+"
    r"|application/(zip|json|javascript|octet-stream|pdf|gzip|x-tar|wasm|x-yaml|xml)"
)


@dataclass
class Artifact:
    """One record. Only `ready` ones are to be seen; `pending` and `burnt` ones hold their name all the same."""

    id: int
    repository: str
    run_id: int
    attempt: int
    run_backend: str
    job_backend: str
    name: str
    version: int
    mime_type: str
    blob: str
    created: float
    expires: float
    status: str = "pending"  # ready, burnt, deleted
    size: int = 0
    digest: str | None = None
    rest: dict = field(default_factory=dict)  # what the REST API shall say otherwise


class Artifacts:
    """All artifacts of all repositories."""

    def __init__(self, state: State, blobs: Blobs):
        self.state = state
        self.blobs = blobs
        self.records: dict[int, Artifact] = {}

    # What REST sees

    def visible(self, artifact: Artifact) -> bool:
        return artifact.status == "ready" and (artifact.run_id, artifact.attempt) not in self.state.hidden_attempts

    def of_repository(self, full_name: str) -> list[Artifact]:
        """Newest first."""
        found = [a for a in self.records.values() if a.repository.lower() == full_name.lower() and self.visible(a)]
        return sorted(found, key=lambda artifact: (artifact.created, artifact.id), reverse=True)

    def expired(self, artifact: Artifact) -> bool:
        return self.state.now() >= artifact.expires

    def download_url(self, artifact: Artifact, seconds: float, origin: str) -> str:
        name = f"{artifact.name}.zip" if artifact.mime_type == ZIP else artifact.name
        plain = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
        disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
        extra = f"rscd={quote(disposition, safe='')}&rsct={quote(artifact.mime_type, safe='')}&"
        return self.blobs.sign(artifact.blob, "r", seconds, origin, extra)

    # What the control API puts in

    def seed(self, fields: dict):
        """An artifact as if a run had uploaded it."""
        known = {
            "id",
            "repository",
            "run_id",
            "attempt",
            "job",
            "name",
            "files",
            "content_base64",
            "mime_type",
            "version",
            "digest",
            "expired",
            "created",
            "expires",
            "rest",
        }
        if set(fields) - known:
            raise BadState(f"no such fields of an artifact: {sorted(set(fields) - known)}")
        if fields["run_id"] not in self.state.runs:
            self.state.add_run({"id": fields["run_id"], "repository": fields["repository"]})
        run = self.state.runs[fields["run_id"]]
        attempt = fields.get("attempt", run["run_attempt"])
        content = self.packed(fields)
        now = self.state.now()
        mime_type = fields.get("mime_type", ZIP)
        record = Artifact(
            id=fields.get("id") or next(self.state.ids),
            repository=run["repository"],
            run_id=run["id"],
            attempt=attempt,
            run_backend=Job.backend_id(run["id"], attempt),
            name=fields["name"],
            job_backend=Job.backend_id(run["id"], attempt, fields.get("job", "job")),
            version=fields.get("version", 4),
            mime_type=mime_type,
            blob=self.blobs.create(".zip" if mime_type == ZIP else ""),
            created=fields.get("created", now),
            expires=fields.get(
                "expires", now - 1 if fields.get("expired") else now + 86400 * self.state.settings["retention_days"]
            ),
            status="ready",
            size=len(content),
            digest=fields.get("digest", f"sha256:{hashlib.sha256(content).hexdigest()}"),
            rest=fields.get("rest", {}),
        )
        self.blobs.blobs[record.blob].commit(content, mime_type, now)
        self.records[record.id] = record

    @staticmethod
    def packed(fields: dict) -> bytes:
        if "content_base64" in fields:
            return base64.b64decode(fields["content_base64"])
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in fields.get("files", {}).items():
                text = content if isinstance(content, str) else json.dumps(content)
                archive.writestr(zipfile.ZipInfo(path), text)
        return target.getvalue()

    # Twirp

    def serve(self, request: Request) -> Reply:
        try:
            answer = self.dispatch(request)
        except TwirpError as error:
            return Reply.json({"code": error.code, "msg": str(error)}, STATUS[error.code])
        return Reply.json(self.in_case(answer))

    def in_case(self, value):
        if self.state.settings["twirp_case"] == "snake":
            return value
        if isinstance(value, list):
            return [self.in_case(item) for item in value]
        return {camel(k): self.in_case(v) for k, v in value.items()} if isinstance(value, dict) else value

    def dispatch(self, request: Request) -> dict:
        method = request.path.removeprefix(PREFIX)
        if method not in METHODS:
            raise TwirpError("bad_route", f'no handler for path "{request.path}"')
        if request.method != "POST":
            raise TwirpError("bad_route", f'unsupported method "{request.method}" (only POST is allowed)')
        if request.header("Content-Type").split(";")[0].strip().lower() != "application/json":
            raise TwirpError("bad_route", f'unexpected Content-Type: "{request.header("Content-Type")}"')
        job = self.state.jobs.get(request.bearer() or "")
        if job is None or self.state.now() > job.expires:
            raise TwirpError("unauthenticated", "the runtime token is missing, unknown or expired")
        message = decode(METHODS[method], request.body)
        own = method in ("CreateArtifact", "FinalizeArtifact")
        attempts = [job.attempt] if own else range(1, job.attempt + 1)
        if message["workflow_run_backend_id"] not in [Job.backend_id(job.run_id, attempt) for attempt in attempts]:
            raise TwirpError("not_found", "workflow run not found")
        if own and message["workflow_job_run_backend_id"] != job.job_backend:
            raise TwirpError("permission_denied", "the job run does not belong to the token")
        handler = {
            "CreateArtifact": self.create,
            "FinalizeArtifact": self.finalize,
            "ListArtifacts": self.rows,
            "GetSignedArtifactURL": self.signed_url,
            "DeleteArtifact": self.delete,
        }[method]
        return handler(job, message, request)

    def create(self, job: Job, message: dict, request: Request) -> dict:
        name, version, now = message["name"], message.get("version", 0), self.state.now()
        if re.search(r'["\\:<>|*?\r\n/]', name):
            raise TwirpError("invalid_argument", "the artifact name is not valid: it contains a forbidden character")
        if version not in (4, 5, 6, 7):
            raise TwirpError("invalid_argument", f"unsupported artifact version {version}")
        mime_type = message.get("mime_type", "") if version >= 7 else ZIP
        if not MIME_TYPES.fullmatch(mime_type):
            raise TwirpError("invalid_argument", "mime_type a valid mime_type is required for this artifact version")
        longest = now + 86400 * self.state.settings["retention_days"]
        expires = message.get("expires_at", longest)
        if expires <= now:
            raise TwirpError("invalid_argument", "expires_at must be in the future")
        if any(a.name == name and a.status != "deleted" for a in self.of_attempt(job)):
            raise TwirpError("already_exists", "an artifact with this name already exists on the workflow run")
        record = Artifact(
            id=next(self.state.ids),
            repository=job.repository,
            run_id=job.run_id,
            attempt=job.attempt,
            run_backend=job.run_backend,
            job_backend=job.job_backend,
            name=name,
            version=version,
            mime_type=mime_type,
            blob=self.blobs.create(".zip" if mime_type == ZIP else ""),
            created=now,
            expires=min(expires, longest),
        )
        self.records[record.id] = record
        url = self.blobs.sign(record.blob, "cw", self.state.settings["blob_seconds"], request.origin)
        return {"ok": True, "signed_upload_url": url}

    def of_attempt(self, job: Job) -> list[Artifact]:
        return [a for a in self.records.values() if (a.run_id, a.attempt) == (job.run_id, job.attempt)]

    def finalize(self, job: Job, message: dict, request: Request) -> dict:
        found = [
            a
            for a in self.of_attempt(job)
            if a.name == message["name"] and a.job_backend == job.job_backend and a.status in ("pending", "ready")
        ]
        if not found:
            raise TwirpError("not_found", "artifact not found")
        record = found[-1]
        if record.status == "ready":
            if self.state.settings["refinalize"] == "refused":
                raise TwirpError("failed_precondition", "the artifact is already finalized")
            record = replace(record, id=next(self.state.ids), status="pending")
            self.records[record.id] = record
        self.check_content(record, message)
        return {"ok": True, "artifact_id": str(record.id)}

    def check_content(self, record: Artifact, message: dict):
        """Makes the record ready. A wrong size or digest burns its name."""
        content = self.blobs.blobs[record.blob].content
        record.status = "burnt"
        if content is None:
            raise TwirpError("failed_precondition", "no content was uploaded")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if message.get("size", 0) != len(content):
            raise TwirpError(
                "invalid_argument", f"size is {message.get('size', 0)}, {len(content)} bytes were uploaded"
            )
        if message.get("hash", digest) != digest:
            raise TwirpError("invalid_argument", f"hash is {message['hash']}, the upload has {digest}")
        record.status, record.size, record.digest = "ready", len(content), digest

    def seen_by(self, job: Job) -> list[Artifact]:
        """What the job's run has, this attempt and those before it, but for attempts that were re-run as a whole."""
        return [
            a
            for a in sorted(self.records.values(), key=lambda a: a.id)
            if a.run_id == job.run_id and a.attempt <= job.attempt and self.visible(a) and not self.expired(a)
        ]

    def rows(self, job: Job, message: dict, request: Request) -> dict:
        rows: list[dict] = []
        for a in self.seen_by(job):
            if message.get("name_filter", a.name) != a.name or message.get("id_filter", a.id) != a.id:
                continue
            row = {
                "workflow_run_backend_id": a.run_backend,
                "workflow_job_run_backend_id": a.job_backend,
                "database_id": str(a.id),
                "name": a.name,
                "size": str(a.size),
                "created_at": iso(a.created),
            }
            rows.append({**row, "digest": a.digest} if a.digest else row)
        return {"artifacts": rows}

    def exactly(self, job: Job, message: dict) -> Artifact:
        """The newest artifact of the run, the job and the name that the message has."""
        wanted = tuple(message[name] for name in [*IDS, "name"])
        found = [a for a in self.seen_by(job) if (a.run_backend, a.job_backend, a.name) == wanted]
        if not found:
            raise TwirpError("not_found", "artifact not found")
        return found[-1]

    def signed_url(self, job: Job, message: dict, request: Request) -> dict:
        artifact = self.exactly(job, message)
        return {"signed_url": self.download_url(artifact, self.state.settings["blob_seconds"], request.origin)}

    def delete(self, job: Job, message: dict, request: Request) -> dict:
        artifact = self.exactly(job, message)
        artifact.status = "deleted"
        return {"ok": True, "artifact_id": str(artifact.id)}
