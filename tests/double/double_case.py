"""What the tests of the GitHub double share: a double in a process of its own, and the words to talk to it."""

import base64
import hashlib
import http.client
import json
import pathlib
import subprocess
import sys
import unittest
from urllib.parse import urlsplit

HERE = pathlib.Path(__file__).resolve().parent
TWIRP = "/twirp/github.actions.results.api.v1.ArtifactService/"
BLOCK_LIST = '<?xml version="1.0" encoding="utf-8"?><BlockList>{}</BlockList>'


class Answer:
    def __init__(self, status: int, headers, body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class DoubleTest(unittest.TestCase):
    """Starts one double for the class, and empties it for every test."""

    @classmethod
    def setUpClass(cls):
        cls.process = subprocess.Popen(
            [sys.executable, str(HERE / "github.py"), "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        cls.origin = json.loads(cls.process.stdout.readline())["url"]

    @classmethod
    def tearDownClass(cls):
        cls.process.stdin.close()
        cls.process.stdout.close()
        assert cls.process.wait(10) == 0

    def setUp(self):
        self.control("reset", {})

    def call(self, method: str, target: str, body=b"", headers=None) -> Answer:
        parts = urlsplit(target)
        connection = http.client.HTTPConnection(parts.netloc or urlsplit(self.origin).netloc, timeout=10)
        try:
            path = target.removeprefix(f"{parts.scheme}://{parts.netloc}") if parts.netloc else target
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, path, data, {"User-Agent": "test", **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def control(self, command: str, body=None):
        answer = self.call(
            "GET" if body is None else "POST", f"/_control/{command}", b"" if body is None else json.dumps(body)
        )
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def start(self, **fields) -> dict:
        return self.control("runtime-token", {"repository": "org/models", "run_id": 10, **fields})

    def twirp(self, job: dict, method: str, fields: dict, ids: dict | None = None) -> Answer:
        ids = ids or {key: job[key] for key in ("workflow_run_backend_id", "workflow_job_run_backend_id")}
        return self.call(
            "POST",
            TWIRP + method,
            json.dumps({**ids, **fields}),
            {"Authorization": f"Bearer {job['token']}", "Content-Type": "application/json"},
        )

    def create(self, job: dict, name: str = "pointer") -> str:
        answer = self.twirp(job, "CreateArtifact", {"name": name, "version": 4})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()["signed_upload_url"]

    def put_blocks(self, url: str, *parts: bytes):
        names = [base64.b64encode(f"block-{n:04}".encode()).decode() for n in range(len(parts))]
        for name, part in reversed(list(zip(names, parts, strict=True))):
            self.assertEqual(self.call("PUT", f"{url}&comp=block&blockid={name}", part).status, 201)
        xml = BLOCK_LIST.format("".join(f"<Latest>{name}</Latest>" for name in names))
        headers = {"x-ms-blob-content-type": "application/zip"}
        self.assertEqual(self.call("PUT", f"{url}&comp=blocklist", xml, headers).status, 201)

    def finalize(self, job: dict, content: bytes, name: str = "pointer", **fields) -> Answer:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return self.twirp(job, "FinalizeArtifact", {"name": name, "size": str(len(content)), "hash": digest, **fields})

    def upload(self, job: dict, content: bytes = b"PK zip", name: str = "pointer") -> str:
        self.put_blocks(self.create(job, name), content)
        answer = self.finalize(job, content, name)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()["artifact_id"]

    def listed(self, job: dict, **filters) -> list[dict]:
        return self.twirp(job, "ListArtifacts", filters).json()["artifacts"]
