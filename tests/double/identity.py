"""Identity in the GitHub double: the tokens of jobs, GitHub's OIDC issuer, and AWS's security token service."""

import base64
import hmac
import json
import re
import secrets
from urllib.parse import parse_qs, quote
from xml.sax.saxutils import escape

from http_base import Reply, Request
from state import BadState, Job, State, iso

ISSUER = "https://token.actions.githubusercontent.com"
STS_XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


class Signer:
    """Makes JSON web tokens that look like GitHub's. The signature is a keyed hash, so only ours are believed."""

    def __init__(self):
        self.secret = secrets.token_bytes(32)

    @staticmethod
    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def signature(self, signed: str) -> str:
        return self.encode(b"".join(hmac.digest(self.secret, f"{signed}{n}".encode(), "sha512") for n in range(4)))

    def make(self, claims: dict) -> str:
        header = {"typ": "JWT", "alg": "RS256", "kid": "38826B17-6A30-5F9B-B169-8BEB8202F723"}
        signed = ".".join(self.encode(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{self.signature(signed)}"

    def claims(self, token: str) -> dict | None:
        """None where the token is not one of ours."""
        signed, _, signature = token.rpartition(".")
        if not signed or not hmac.compare_digest(self.signature(signed).encode(), signature.encode()):
            return None
        payload = signed.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Jobs:
    """Starts jobs, which is to give them the environment that a runner would."""

    KEYS = {"repository", "run_id", "attempt", "job", "rerun", "permissions", "environment", "lifetime"}

    def __init__(self, state: State, signer: Signer):
        self.state = state
        self.signer = signer

    def start(self, fields: dict, origin: str) -> dict:
        """`rerun: "all"` makes the artifacts of earlier attempts vanish, as GitHub does; "failed" keeps them.
        `permissions` are the job's, as in a workflow file; with `id-token: write` there is OIDC."""
        if set(fields) - self.KEYS or "repository" not in fields:
            raise BadState(f"a job has `repository` and of the rest {sorted(self.KEYS)}")
        repository = self.state.repositories[self.state.known(fields["repository"])]
        run_id = fields.get("run_id") or next(self.state.ids)
        if run_id not in self.state.runs:
            self.state.add_run({"id": run_id, "repository": repository["full_name"], "status": "in_progress"})
        run = self.state.runs[run_id]
        attempt = fields.get("attempt") or run["run_attempt"]
        run["run_attempt"] = max(attempt, run["run_attempt"])
        if fields.get("rerun") == "all":
            self.state.hidden_attempts |= {(run_id, earlier) for earlier in range(1, attempt)}
        now = self.state.now()
        job = Job(run["repository"], run_id, attempt, fields.get("job", "job"), now + fields.get("lifetime", 6 * 3600))
        job.environment = fields.get("environment")
        token = self.signer.make(
            {
                "scp": f"Actions.ExampleScope Actions.Results:{job.run_backend}:{job.job_backend}",
                "iss": ISSUER,
                "nbf": int(now) - 300,
                "iat": int(now),
                "exp": int(job.expires),
                "jti": secrets.token_hex(8),
            }
        )
        self.state.jobs[token] = job
        permissions = {
            name.replace("-", "_"): level for name, level in fields.get("permissions", {"contents": "read"}).items()
        }
        github_token = f"ghs_{secrets.token_hex(18)}"
        self.state.tokens[github_token] = {
            "kind": "installation",
            "repositories": [repository["full_name"]],
            "permissions": permissions,
            "expires_at": job.expires,
        }
        environment = {
            "ACTIONS_RUNTIME_TOKEN": token,
            "ACTIONS_RUNTIME_URL": f"{origin}/",
            "ACTIONS_RESULTS_URL": f"{origin}/",
            "GITHUB_API_URL": f"{origin}/api/v3",
            "GITHUB_REPOSITORY": repository["full_name"],
            "GITHUB_REPOSITORY_ID": str(repository["id"]),
            "GITHUB_RUN_ID": str(run_id),
            "GITHUB_RUN_ATTEMPT": str(attempt),
        }
        if permissions.get("id_token") == "write":
            job.oidc_token = secrets.token_urlsafe(32)
            environment["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{origin}/oidc?api-version=2.0"
            environment["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = job.oidc_token
        return {
            "token": token,
            "github_token": github_token,
            "workflow_run_backend_id": job.run_backend,
            "workflow_job_run_backend_id": job.job_backend,
            "run_id": run_id,
            "attempt": attempt,
            "env": environment,
        }


class Oidc:
    """The issuer of id tokens."""

    def __init__(self, state: State, signer: Signer):
        self.state = state
        self.signer = signer

    def serve(self, request: Request) -> Reply:
        token = request.bearer()
        job = next((job for job in self.state.jobs.values() if token and job.oidc_token == token), None)
        if job is None or self.state.now() > job.expires:
            return Reply.json({"$id": "1", "message": "The request token is missing, unknown or expired."}, 401)
        if request.method != "GET":
            return Reply.json({"$id": "1", "message": "Method not allowed."}, 405)
        if not request.query.get("api-version"):
            return Reply.json({"$id": "1", "message": "No api-version was supplied."}, 400)
        return Reply.json({"count": 1, "value": self.signer.make(self.claims(job, request.query.get("audience")))})

    def claims(self, job: Job, audience: str | None) -> dict:
        run, now = self.state.runs[job.run_id], self.state.now()
        repository = self.state.repositories[job.repository.lower()]
        owner, name = repository["full_name"].split("/")
        ref = self.ref(run)
        claims = {
            "iss": ISSUER,
            "sub": self.subject(repository, run, ref, job),
            "aud": audience or f"https://github.com/{owner}",
            "iat": int(now),
            "nbf": int(now) - 600,
            "exp": int(now + self.state.settings["oidc_seconds"]),
            "jti": secrets.token_hex(16),
            "repository": repository["full_name"],
            "repository_id": str(repository["id"]),
            "repository_owner": owner,
            "repository_owner_id": str(repository["owner_id"]),
            "repository_visibility": "private" if repository["private"] else "public",
            "ref": ref,
            "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
            "event_name": run["event"],
            "sha": run["head_sha"],
            "run_id": str(job.run_id),
            "run_attempt": str(job.attempt),
            "run_number": str(run["run_number"]),
            "actor": run["actor"],
            "runner_environment": "github-hosted",
            "workflow_ref": f"{owner}/{name}/{run['path']}@{ref}",
            "job_workflow_ref": f"{owner}/{name}/{run['path']}@{ref}",
        }
        return {**claims, "environment": job.environment} if job.environment else claims

    @staticmethod
    def ref(run: dict) -> str:
        if run.get("ref"):
            return run["ref"]
        if run["event"] == "pull_request" and run["pull_requests"]:
            first = run["pull_requests"][0]
            return f"refs/pull/{first['number'] if isinstance(first, dict) else first}/merge"
        return f"refs/heads/{run['head_branch']}"

    def subject(self, repository: dict, run: dict, ref: str, job: Job) -> str:
        owner, name = repository["full_name"].split("/")
        if self.state.settings["immutable_subjects"]:
            owner, name = f"{owner}@{repository['owner_id']}", f"{name}@{repository['id']}"
        if job.environment:
            return f"repo:{owner}/{name}:environment:{job.environment.replace(':', '%3A')}"
        if run["event"] == "pull_request":
            return f"repo:{owner}/{name}:pull_request"
        return f"repo:{owner}/{name}:ref:{ref.replace(':', '%3A')}"


class StsError(Exception):
    """A refusal in the words of AWS."""

    STATUS = {"AccessDenied": 403, "Throttling": 400, "InternalFailure": 500, "ServiceUnavailable": 503}
    MESSAGES = {
        "AccessDenied": "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        "ExpiredTokenException": "Token expired: the web identity token has expired",
        "IDPCommunicationError": "Couldn't retrieve verification key from your identity provider",
        "Throttling": "Rate exceeded",
    }

    def __init__(self, code: str, message: str = ""):
        super().__init__(message or self.MESSAGES.get(code, code))
        self.code = code

    def reply(self) -> Reply:
        status = self.STATUS.get(self.code, 400)
        kind = "Receiver" if status >= 500 else "Sender"
        return Reply.xml(
            f'<ErrorResponse xmlns="{STS_XMLNS}"><Error><Type>{kind}</Type><Code>{self.code}</Code>'
            f"<Message>{escape(str(self))}</Message></Error><RequestId>{secrets.token_hex(16)}</RequestId>"
            "</ErrorResponse>",
            status,
            {"Content-Type": "text/xml"},
        )


class Sts:
    """AssumeRoleWithWebIdentity. The provider it trusts is the issuer above, for the audience of the role."""

    def __init__(self, state: State, signer: Signer):
        self.state = state
        self.signer = signer

    def serve(self, request: Request) -> Reply:
        try:
            if self.state.settings["sts_errors"]:
                code, *rest = self.state.settings["sts_errors"]
                self.state.settings["sts_errors"] = rest
                raise StsError(code)
            return self.assume(request)
        except StsError as error:
            return error.reply()

    def assume(self, request: Request) -> Reply:
        if request.method != "POST" or "x-www-form-urlencoded" not in request.header("Content-Type"):
            raise StsError("InvalidAction", "a form must be posted")
        form = {name: values[-1] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        if (form.get("Action"), form.get("Version")) != ("AssumeRoleWithWebIdentity", "2011-06-15"):
            raise StsError(
                "InvalidAction", f"Could not find operation {form.get('Action')} for version {form.get('Version')}"
            )
        arn, session = form.get("RoleArn", ""), form.get("RoleSessionName", "")
        if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", arn):
            raise StsError("ValidationError", f"{arn} is invalid")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", session, re.ASCII):
            raise StsError(
                "ValidationError",
                f"Value '{session}' at 'roleSessionName' failed to satisfy constraint: "
                r"Member must satisfy regular expression pattern: [\w+=,.@-]*",
            )
        role = self.state.roles.get(arn, {})
        seconds = self.duration(form.get("DurationSeconds", "3600"), role)
        claims = self.verified(form.get("WebIdentityToken", ""), role)
        if not self.state.role_allows(arn, claims["sub"]):
            raise StsError("AccessDenied")
        credentials = {
            "AccessKeyId": role.get("access_key_id") or "ASIA" + secrets.token_hex(8).upper(),
            "SecretAccessKey": role.get("secret_access_key") or secrets.token_urlsafe(30),
            "SessionToken": role.get("session_token", "IQoJ" + base64.b64encode(secrets.token_bytes(300)).decode()),
            "Expiration": iso(self.state.now() + seconds),
        }
        self.state.sessions.append(
            {
                "role": arn,
                "session": session,
                "subject": claims["sub"],
                "duration": seconds,
                "expiration": credentials["Expiration"],
                "access_key_id": credentials["AccessKeyId"],
            }
        )
        return Reply.xml(self.answer(arn, session, claims, credentials), headers={"Content-Type": "text/xml"})

    def duration(self, text: str, role: dict) -> float:
        longest = role.get("max_session", 3600)
        if not text.isdecimal() or not 900 <= int(text) <= 43200:
            raise StsError("ValidationError", f"Value '{text}' at 'durationSeconds' must be between 900 and 43200")
        if int(text) > longest:
            raise StsError(
                "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
        chosen = self.state.settings["sts_seconds"]
        return int(text) if chosen is None else chosen

    def verified(self, token: str, role: dict) -> dict:
        claims = self.signer.claims(token)
        if claims is None or claims.get("iss") != ISSUER or "sub" not in claims:
            raise StsError(
                "InvalidIdentityToken",
                "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
            )
        now = self.state.now()
        if now >= claims["exp"]:
            raise StsError(
                "ExpiredTokenException",
                f"Token expired: current date/time {int(now)} must be before the expiration date/time {claims['exp']}",
            )
        if claims["aud"] != role.get("audience", "sts.amazonaws.com"):
            raise StsError("InvalidIdentityToken", "Incorrect token audience")
        return claims

    @staticmethod
    def answer(arn: str, session: str, claims: dict, credentials: dict) -> str:
        account, role = arn.split(":")[4], arn.rpartition("/")[2]
        rows = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in credentials.items())
        return (
            f'<AssumeRoleWithWebIdentityResponse xmlns="{STS_XMLNS}"><AssumeRoleWithWebIdentityResult>'
            f"<Audience>{escape(claims['aud'])}</Audience><AssumedRoleUser><AssumedRoleId>AROA3XFRBF535PLBIFPI4:"
            f"{escape(session)}</AssumedRoleId><Arn>arn:aws:sts::{account}:assumed-role/{role}/{escape(session)}</Arn>"
            f"</AssumedRoleUser><Provider>arn:aws:iam::{account}:oidc-provider/{quote(ISSUER.removeprefix('https://'))}"
            f"</Provider><Credentials>{rows}</Credentials><SubjectFromWebIdentityToken>{escape(claims['sub'])}"
            "</SubjectFromWebIdentityToken></AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>"
            f"{secrets.token_hex(16)}</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"
        )
