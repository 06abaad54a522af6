#!/usr/bin/env python3
"""Tests of the GitHub double but for its REST API: artifacts and their storage, identity, faults, the control API."""

import base64
import hashlib
import http.client
import json
import time
import unittest
from urllib.parse import urlencode
from xml.etree import ElementTree

from double_case import BLOCK_LIST, TWIRP, DoubleTest

ROLE = "arn:aws:iam::123456789012:role/ml-cache"


class Results(DoubleTest):
    def test_an_artifact_goes_up_and_comes_down(self):
        job, content = self.start(), b"first" + b"second"
        self.put_blocks(self.create(job), b"first", b"second")
        number = self.finalize(job, content).json()["artifact_id"]
        row = self.listed(job)[0]
        self.assertEqual((row["database_id"], row["size"], row["name"]), (number, "11", "pointer"))
        self.assertEqual(row["digest"], f"sha256:{hashlib.sha256(content).hexdigest()}")
        self.assertEqual([self.listed(job, name_filter="x"), self.listed(job, id_filter="1")], [[], []])
        url = self.twirp(job, "GetSignedArtifactURL", {"name": "pointer"}).json()["signed_url"]
        answer = self.call("GET", url)
        self.assertEqual((answer.status, answer.body), (200, content))
        self.assertEqual(answer.headers["Content-Type"], "application/zip")
        self.assertIn("filename*=UTF-8''pointer.zip", answer.headers["Content-Disposition"])
        self.assertEqual(self.twirp(job, "DeleteArtifact", {"name": "pointer"}).json()["artifact_id"], number)
        self.assertEqual(self.listed(job), [])

    def test_messages_are_read_strictly(self):
        job = self.start()
        good = {"name": "x", "version": 4}
        for fields, code in [
            ({**good, "mimeType": "application/zip", "expiresAt": "2099-01-01T00:00:00.000Z"}, None),
            ({**good, "surprise": 1}, "malformed"),
            ({**good, "version": "4"}, "malformed"),
            ({**good, "expires_at": "tomorrow"}, "malformed"),
            ({**good, "expires_at": "2001-01-01T00:00:00Z"}, "invalid_argument"),
            ({"name": "", "version": 4}, "invalid_argument"),
            ({"name": "a/b", "version": 4}, "invalid_argument"),
            ({"name": "y"}, "invalid_argument"),
            ({"name": "y", "version": 7}, "invalid_argument"),
            ({"name": "y", "version": 7, "mime_type": "application/json"}, None),
        ]:
            answer = self.twirp(job, "CreateArtifact", fields)
            self.assertEqual((answer.status, answer.json().get("code")), (400 if code else 200, code), fields)
        self.assertEqual(self.finalize(job, b"", "x", size=0).json()["code"], "malformed")
        self.assertEqual(self.twirp({**job, "token": "a.b.c"}, "ListArtifacts", {}).status, 401)
        self.assertEqual(self.call("POST", TWIRP + "Nothing").json()["code"], "bad_route")

    def test_a_name_is_taken_once_in_an_attempt(self):
        job = self.start()
        self.upload(job)
        answer = self.twirp(job, "CreateArtifact", {"name": "pointer", "version": 4})
        message = "an artifact with this name already exists on the workflow run"
        self.assertEqual((answer.status, answer.json()), (409, {"code": "already_exists", "msg": message}))
        again = self.start(attempt=2)
        self.upload(again)
        self.assertEqual([len(self.listed(again)), len(self.listed(job))], [2, 1])
        self.assertEqual(len(self.listed(self.start(attempt=3, rerun="all"))), 0)

    def test_a_failed_finalize_burns_the_name(self):
        job = self.start()
        wrong = {"size": {"size": "1"}, "hash": {"hash": f"sha256:{'0' * 64}"}}
        for name, fields in wrong.items():
            self.put_blocks(self.create(job, name), b"content")
            self.assertEqual(self.finalize(job, b"content", name, **fields).status, 400)
        self.create(job, "nothing uploaded")
        self.assertEqual(self.finalize(job, b"", "nothing uploaded").status, 412)
        for name in [*wrong, "nothing uploaded"]:
            self.assertEqual(self.twirp(job, "CreateArtifact", {"name": name, "version": 4}).status, 409)
            self.assertEqual(self.finalize(job, b"content", name).status, 404)
        self.assertEqual(self.listed(job), [])

    def test_finalizing_twice_makes_two(self):
        job = self.start()
        first = self.upload(job)
        self.assertNotEqual(self.finalize(job, b"PK zip").json()["artifact_id"], first)
        self.assertEqual(len(self.listed(job, name_filter="pointer")), 2)
        self.control("state", {"settings": {"refinalize": "refused"}})
        self.assertEqual(self.finalize(job, b"PK zip").status, 412)

    def test_a_run_is_closed_to_others_but_open_to_its_jobs(self):
        train, deploy, other = self.start(job="train"), self.start(job="deploy"), self.start(run_id=11)
        self.upload(train)
        row = self.listed(deploy)[0]
        ids = {key: row[key] for key in ("workflow_run_backend_id", "workflow_job_run_backend_id")}
        self.assertEqual(self.twirp(deploy, "GetSignedArtifactURL", {"name": "pointer"}).status, 404)
        self.assertEqual(self.twirp(deploy, "GetSignedArtifactURL", {"name": "pointer"}, ids).status, 200)
        self.assertEqual(self.twirp(deploy, "CreateArtifact", {"name": "z", "version": 4}, ids).status, 403)
        answer = self.twirp(other, "ListArtifacts", {}, ids)
        self.assertEqual((answer.status, answer.json()["msg"]), (404, "workflow run not found"))

    def test_camel_case_answers(self):
        self.control("state", {"settings": {"twirp_case": "camel"}})
        self.assertIn("signedUploadUrl", self.twirp(self.start(), "CreateArtifact", {"name": "a", "version": 4}).json())


class Storage(DoubleTest):
    def code(self, *call) -> tuple[int, str]:
        answer = self.call(*call)
        return answer.status, answer.headers["x-ms-error-code"]

    def test_uploads_are_checked(self):
        url = self.create(self.start())
        self.assertEqual(self.code("PUT", url, b"x"), (400, "MissingRequiredHeader"))
        self.assertEqual(self.code("PUT", f"{url}&comp=block&blockid=%21", b"x"), (400, "InvalidQueryParameterValue"))
        self.assertEqual(self.code("PUT", f"{url}&comp=blocklist", "no"), (400, "InvalidXmlDocument"))
        missing = BLOCK_LIST.format("<Latest>YQ==</Latest>")
        self.assertEqual(self.code("PUT", f"{url}&comp=blocklist", missing), (400, "InvalidBlockList"))
        self.assertEqual(self.call("PUT", f"{url}&comp=block&blockid=YQ==", b"x").status, 201)
        self.assertEqual(self.code("PUT", f"{url}&comp=block&blockid=YWFhYQ==", b"x"), (400, "InvalidBlobOrBlock"))
        self.assertEqual(self.call("PUT", url, b"x", {"x-ms-blob-type": "BlockBlob"}).status, 201)

    def test_signatures_are_checked(self):
        job = self.start()
        upload = self.create(job)
        refused = (403, "AuthenticationFailed")
        self.assertEqual(self.code("PUT", upload, b"x", {"Authorization": "Bearer t"}), refused)
        self.assertEqual(self.code("PUT", upload.replace("%2F", "/"), b"x"), refused)
        self.assertEqual(self.code("PUT", upload.replace("sp=cw", "sp=rw"), b"x"), refused)
        self.assertEqual(self.code("GET", upload), (403, "AuthorizationPermissionMismatch"))
        self.control("state", {"settings": {"clock_offset": 700}})
        self.assertEqual(self.code("PUT", upload, b"x"), refused)

    def test_signed_urls_as_others_make_them(self):
        self.control("state", {"settings": {"signature_padding": "literal", "blob_origin": "http://blobs.localhost:1"}})
        url = self.create(self.start())
        self.assertTrue(url.startswith("http://blobs.localhost:1/actions-results/") and url.endswith("="), url)
        path = url.removeprefix("http://blobs.localhost:1")
        self.assertEqual(self.call("PUT", f"{path}&comp=block&blockid=YQ==", b"x").status, 201)
        self.assertEqual(self.call("PUT", f"{path[:-1]}%3D&comp=block&blockid=YQ==", b"x").status, 403)

    def test_ranges(self):
        job = self.start()
        self.upload(job, b"0123456789")
        url = self.twirp(job, "GetSignedArtifactURL", {"name": "pointer"}).json()["signed_url"]
        part = self.call("GET", url, headers={"Range": "bytes=2-4"})
        self.assertEqual((part.status, part.body, part.headers["Content-Range"]), (206, b"234", "bytes 2-4/10"))
        self.assertEqual(self.call("GET", url, headers={"Range": "bytes=8-"}).body, b"89")
        self.assertEqual(self.code("GET", url, b"", {"Range": "bytes=10-"}), (416, "InvalidRange"))
        self.assertEqual(self.call("HEAD", url).headers["Content-Length"], "10")


class Identity(DoubleTest):
    def token(self, audience: str = "sts.amazonaws.com", **fields) -> tuple[str, dict]:
        env = self.start(permissions={"id-token": "write"}, **fields)["env"]
        answer = self.call(
            "GET",
            f"{env['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={audience}",
            headers={"Authorization": f"Bearer {env['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
        )
        token = answer.json()["value"]
        payload = token.split(".")[1]
        return token, json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    def assume(self, token: str, **fields) -> tuple[int, dict]:
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "WebIdentityToken": token,
            "RoleSessionName": "GitHubActions-10",
            "DurationSeconds": "3600",
            **fields,
        }
        answer = self.call("POST", "/sts/", urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
        root = ElementTree.fromstring(answer.body)
        return answer.status, {item.tag.rpartition("}")[2]: item.text for item in root.iter()}

    def test_claims(self):
        _, claims = self.token()
        self.assertEqual((claims["sub"], claims["aud"]), ("repo:org/models:ref:refs/heads/main", "sts.amazonaws.com"))
        self.assertEqual(claims["exp"] - claims["iat"], 300)
        self.assertEqual(self.token(environment="prod:eu")[1]["sub"], "repo:org/models:environment:prod%3Aeu")
        self.control(
            "state",
            {
                "runs": [{"id": 12, "repository": "org/models", "event": "pull_request", "pull_requests": [5]}],
                "settings": {"immutable_subjects": True},
                "repositories": {"org/models": {"id": 42, "owner_id": 7}},
            },
        )
        _, claims = self.token(run_id=12)
        self.assertEqual((claims["sub"], claims["ref"]), ("repo:org@7/models@42:pull_request", "refs/pull/5/merge"))
        self.assertNotIn("ACTIONS_ID_TOKEN_REQUEST_URL", self.start()["env"])
        self.assertEqual(self.call("GET", "/oidc?api-version=2.0").status, 401)

    def test_roles(self):
        self.control(
            "state",
            {
                "roles": {ROLE: {"subjects": ["repo:org/models:*"], "access_key_id": "AKIDTEST"}},
                "settings": {"sts_seconds": 5},
            },
        )
        token, _ = self.token()
        before = time.time()
        status, answer = self.assume(token)
        self.assertEqual((status, answer["AccessKeyId"]), (200, "AKIDTEST"))
        ends = time.mktime(time.strptime(answer["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        # The answer has whole seconds.
        self.assertTrue(before + 4 <= ends <= time.time() + 6, (before, ends))
        self.assertEqual(self.control("state")["sessions"][0]["session"], "GitHubActions-10")
        stranger, _ = self.token(repository="org/else", run_id=99)
        foreign, _ = self.token(audience="elsewhere")
        for token_, fields, wanted in [
            (stranger, {}, (403, "AccessDenied")),
            (token, {"RoleArn": ROLE + "-none"}, (403, "AccessDenied")),
            (foreign, {}, (400, "InvalidIdentityToken")),
            (token[:-4] + "AAAA", {}, (400, "InvalidIdentityToken")),
            (token, {"RoleSessionName": "a b"}, (400, "ValidationError")),
            (token, {"DurationSeconds": "60"}, (400, "ValidationError")),
        ]:
            status, answer = self.assume(token_, **fields)
            self.assertEqual((status, answer["Code"]), wanted)
        self.control("state", {"settings": {"sts_errors": ["IDPCommunicationError"], "clock_offset": 400}})
        self.assertEqual(self.assume(token)[1]["Code"], "IDPCommunicationError")
        self.assertEqual(self.assume(token)[1]["Code"], "ExpiredTokenException")


class Control(DoubleTest):
    PATH = "/repos/o/r"

    def setUp(self):
        super().setUp()
        self.control("state", {"repositories": {"o/r": {}}})

    def fault(self, action, **rule):
        self.control("faults", [{"path": "^/repos/", **rule, "action": action}])

    def test_statuses_are_counted(self):
        self.fault({"status": 503, "body": {"msg": "busy"}, "headers": {"Retry-After": "1"}}, nth=[2, 3], method="GET")
        statuses = [self.call("GET", self.PATH).status for _ in range(4)]
        self.assertEqual(statuses, [200, 503, 503, 200])
        rule = self.control("faults")[0]
        self.assertEqual((rule["seen"], rule["struck"]), (4, 2))
        self.fault({"status": 500, "body": "<html>"}, times=1)
        self.assertEqual([self.call("GET", self.PATH).body for _ in range(2)][0], b"<html>")

    def test_a_fault_may_repeat_what_was_sent(self):
        said = "{{bearer}} {{bearer64}} {{bearer_url}} {{target}} {{form a}}{{form b}}"
        self.fault({"status": 403, "body": [said], "headers": {"X-Said": said}})
        headers = {"Authorization": "Bearer se+ret", "Content-Type": "application/x-www-form-urlencoded"}
        answer = self.call("POST", f"{self.PATH}?x=1", b"a=%2B&c=1", headers)
        repeated = f"se+ret eC1hY2Nlc3MtdG9rZW46c2UrcmV0 se%2Bret {self.PATH}?x=1 +"
        self.assertEqual((answer.json(), answer.headers["X-Said"]), ([repeated], repeated))

    def test_broken_connections(self):
        self.fault("reset", times=1)
        self.assertRaises(ConnectionResetError, self.call, "GET", self.PATH)
        self.fault({"truncate": 10}, times=1)
        self.assertRaises(http.client.IncompleteRead, self.call, "GET", self.PATH)
        self.fault({"delay": 0.2}, times=1)
        start = time.monotonic()
        self.assertEqual(self.call("GET", self.PATH).status, 200)
        self.assertGreaterEqual(time.monotonic() - start, 0.2)

    def test_a_dropped_reply_is_work_done(self):
        job = self.start()
        self.control("faults", [{"path": "CreateArtifact", "action": "drop-reply"}])
        self.assertRaises(
            http.client.RemoteDisconnected, self.twirp, job, "CreateArtifact", {"name": "a", "version": 4}
        )
        self.control("faults", [])
        self.assertEqual(self.twirp(job, "CreateArtifact", {"name": "a", "version": 4}).status, 409)

    def test_requests_are_kept_without_tokens(self):
        job = self.start()
        self.upload(job)
        entries = self.control("requests")
        self.assertEqual([e["status"] for e in entries], [200, 201, 201, 200])
        self.assertEqual([e["authorization"] for e in entries], [True, False, False, True])
        self.assertEqual(entries[0]["body"]["name"], "pointer")
        self.assertNotIn("body", entries[1])
        self.assertNotIn(job["token"], json.dumps(entries))
        self.assertEqual(len(self.control("requests?path=blob|results&method=PUT")), 2)

    def test_mistakes_are_refused(self):
        for command, body in [
            ("state", {"run": []}),
            ("state", {"settings": {"x": 1}}),
            ("faults", [{"action": "explode"}]),
            ("faults", [{"path": "(", "action": "reset"}]),
            ("runtime-token", {}),
            ("nothing", {}),
        ]:
            answer = self.call("POST", f"/_control/{command}", json.dumps(body))
            self.assertIn(answer.status, (400, 404), body)
            self.assertIn("error", answer.json())


if __name__ == "__main__":
    unittest.main()
