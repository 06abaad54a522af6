"""Blob storage of the GitHub double: what Azure does behind the signed URLs of artifacts."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from email.utils import formatdate
from urllib.parse import quote
from xml.etree import ElementTree

from http_base import BLOBS, Reply, Request
from state import State, iso

AUTHENTICATION_FAILED = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
    "including the signature."
)


class Blob:
    """Blocks that wait for their list, and what the last list made of them."""

    def __init__(self):
        self.blocks: dict[str, bytes] = {}
        self.committed: dict[str, bytes] = {}
        self.content: bytes | None = None
        self.content_type = "application/octet-stream"
        self.modified = 0.0

    def commit(self, content: bytes, content_type: str, now: float):
        self.content = content
        self.content_type = content_type or "application/octet-stream"
        self.modified = now
        self.blocks = {}

    @property
    def etag(self) -> str:
        return '"0x' + hashlib.sha256(self.content or b"").hexdigest()[:15].upper() + '"'


class Refusal(Exception):
    """An error that is answered as Azure writes it."""

    def __init__(self, status: int, code: str, message: str, detail: str = ""):
        super().__init__(message)
        self.reply = Reply.xml(
            f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message>'
            + (f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else "")
            + "</Error>",
            status,
            {"x-ms-error-code": code},
        )


class Blobs:
    """Storage with signed URLs. A signature is good for exactly the text that was signed, and what comes after it."""

    def __init__(self, state: State):
        self.state = state
        self.secret = secrets.token_bytes(32)
        self.blobs: dict[str, Blob] = {}
        self.signed: dict[str, tuple[str, float]] = {}  # path?query → permissions, end

    def create(self, suffix: str) -> str:
        path = f"{BLOBS}{secrets.token_hex(8)}/workflow-job-run/{secrets.token_hex(16)}{suffix}"
        self.blobs[path] = Blob()
        return path

    def sign(self, path: str, permissions: str, seconds: float, origin: str, extra: str = "") -> str:
        """A URL whose signature has all that must be escaped, so that a client that decodes it without need shows."""
        now = self.state.now()
        query = (
            f"{extra}se={quote(iso(now + seconds), safe='')}&skv=2025-11-05&sp={permissions}&spr=https&sr=b"
            f"&st={quote(iso(now - 300), safe='')}&sv=2025-11-05"
        )
        plain = "=" if self.state.settings["signature_padding"] == "literal" else ""
        salt = 0
        while True:  # the first that has both characters that must be escaped
            digest = hmac.digest(self.secret, f"{path}?{query}#{salt}".encode(), "sha256")
            signature = base64.b64encode(digest).decode()
            if "+" in signature and "/" in signature:
                break
            salt += 1
        target = f"{path}?{query}&sig={quote(signature, safe=plain)}"
        self.signed[target] = (permissions, now + seconds)
        return (self.state.settings["blob_origin"] or origin).rstrip("/") + target

    def serve(self, request: Request) -> Reply:
        common = {
            "x-ms-request-id": secrets.token_hex(16),
            "x-ms-version": request.header("x-ms-version") or "2025-11-05",
        }
        try:
            reply = self.dispatch(request)
        except Refusal as refusal:
            reply = refusal.reply
        reply.headers.update(common)
        return reply

    def dispatch(self, request: Request) -> Reply:
        self.check_signature(request)
        blob = self.blobs.get(request.path)
        if blob is None:
            raise Refusal(404, "BlobNotFound", "The specified blob does not exist.")
        if request.method in ("GET", "HEAD"):
            return self.read(request, blob)
        if request.method != "PUT":
            raise Refusal(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
        self.check_body(request)
        comp = request.query.get("comp")
        if comp == "block":
            return self.put_block(request, blob)
        if comp == "blocklist":
            return self.put_block_list(request, blob)
        if comp is not None:
            raise Refusal(400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid.")
        if request.header("x-ms-blob-type") != "BlockBlob":
            raise Refusal(
                400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified."
            )
        blob.commit(
            request.body, request.header("x-ms-blob-content-type") or request.header("Content-Type"), self.state.now()
        )
        return self.created(blob)

    def check_signature(self, request: Request):
        if request.header("Authorization"):
            raise Refusal(
                403, "AuthenticationFailed", AUTHENTICATION_FAILED, "Both a signature and a header were given."
            )
        end = re.search(r"(?:^|&)sig=[^&]*", request.raw_query)
        signed = self.signed.get(f"{request.path}?{request.raw_query[: end.end()]}") if end else None
        if signed is None:
            raise Refusal(403, "AuthenticationFailed", AUTHENTICATION_FAILED, "Signature did not match.")
        permissions, until = signed
        if self.state.now() > until:
            raise Refusal(
                403,
                "AuthenticationFailed",
                AUTHENTICATION_FAILED,
                f"Signature not valid in the specified time frame: Expiry [{iso(until)}]",
            )
        if ("r" in permissions) != (request.method in ("GET", "HEAD")):
            raise Refusal(
                403,
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission.",
            )

    @staticmethod
    def check_body(request: Request):
        if not request.header("Content-Length"):
            raise Refusal(411, "MissingContentLengthHeader", "Content-Length HTTP header is not specified.")
        md5 = request.header("Content-MD5")
        if md5 and md5 != base64.b64encode(hashlib.md5(request.body).digest()).decode():
            raise Refusal(
                400,
                "Md5Mismatch",
                "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
            )

    @staticmethod
    def put_block(request: Request, blob: Blob) -> Reply:
        name = request.query.get("blockid", "")
        try:
            valid = 0 < len(base64.b64decode(name, validate=True)) <= 64
        except binascii.Error:
            valid = False
        if not valid:
            raise Refusal(
                400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid: blockid"
            )
        if not request.body:
            raise Refusal(
                400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."
            )
        if any(len(other) != len(name) for other in blob.blocks):
            raise Refusal(400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.")
        blob.blocks[name] = request.body
        return Reply(201, headers={"x-ms-request-server-encrypted": "true"})

    def put_block_list(self, request: Request, blob: Blob) -> Reply:
        sources = {
            "Latest": {**blob.committed, **blob.blocks},
            "Uncommitted": blob.blocks,
            "Committed": blob.committed,
        }
        try:
            root = ElementTree.fromstring(request.body)
            chosen = [((item.text or "").strip(), sources[item.tag]) for item in root]
        except (ElementTree.ParseError, KeyError):
            raise Refusal(400, "InvalidXmlDocument", "XML specified is not syntactically valid.") from None
        if root.tag != "BlockList" or any(name not in source for name, source in chosen):
            raise Refusal(400, "InvalidBlockList", "The specified block list is invalid.")
        blob.committed = {name: source[name] for name, source in chosen}
        content = b"".join(source[name] for name, source in chosen)
        blob.commit(content, request.header("x-ms-blob-content-type"), self.state.now())
        return self.created(blob)

    @staticmethod
    def created(blob: Blob) -> Reply:
        return Reply(
            201,
            headers={
                "ETag": blob.etag,
                "Last-Modified": formatdate(blob.modified, usegmt=True),
                "x-ms-request-server-encrypted": "true",
            },
        )

    @staticmethod
    def read(request: Request, blob: Blob) -> Reply:
        content = blob.content
        if content is None:
            raise Refusal(404, "BlobNotFound", "The specified blob does not exist.")
        headers = {
            "Content-Type": request.query.get("rsct") or blob.content_type,
            "ETag": blob.etag,
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(blob.modified, usegmt=True),
            "x-ms-blob-type": "BlockBlob",
        }
        if "rscd" in request.query:
            headers["Content-Disposition"] = request.query["rscd"]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("x-ms-range") or request.header("Range"))
        if not wanted:
            return Reply(200, content, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if first >= len(content):
            raise Refusal(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return Reply(206, content[first : last + 1], headers)
