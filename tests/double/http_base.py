"""HTTP for the GitHub double: requests and replies, the log of requests, and the server that plays scripted faults."""

import json
import re
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from faults import Fault, Faults

BODY_LOG_LIMIT = 64 * 1024
CONTROL = "/_control/"
BLOBS = "/actions-results/"


class Request:
    """One request. The path and the raw query are as the client wrote them; nothing is decoded but `query`."""

    def __init__(self, method: str, target: str, headers, body: bytes):
        self.method = method
        self.target = target
        self.path, _, self.raw_query = target.partition("?")
        self.query = dict(parse_qsl(self.raw_query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.origin = f"http://{headers.get('Host', '')}"

    def header(self, name: str) -> str:
        return self.headers.get(name) or ""

    def bearer(self) -> str | None:
        """The token of an `Authorization` header, which REST also takes with the word `token`."""
        scheme, _, token = self.header("Authorization").partition(" ")
        return token.strip() if scheme.lower() in ("bearer", "token") and token.strip() else None

    def json(self):
        return json.loads(self.body or b"null")


class Reply:
    """What a service answers."""

    def __init__(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None):
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    @classmethod
    def json(cls, value, status: int = 200, headers: dict[str, str] | None = None) -> "Reply":
        text = json.dumps(value, ensure_ascii=False).encode()
        return cls(status, text, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})

    @classmethod
    def xml(cls, text: str, status: int = 200, headers: dict[str, str] | None = None) -> "Reply":
        return cls(status, text.encode(), {"Content-Type": "application/xml", **(headers or {})})

    @classmethod
    def of_fault(cls, fault: Fault, request: Request) -> "Reply":
        status, headers = fault.status or 500, {name: echo(value, request) for name, value in fault.headers.items()}
        if isinstance(fault.body, str):
            return cls(status, echo(fault.body, request).encode(), headers)
        headers = {"Content-Type": "application/json; charset=utf-8", **headers}
        return cls(status, echo(json.dumps(fault.body, ensure_ascii=False), request).encode(), headers)


def echo(text: str, request: Request) -> str:
    """What a careless service repeats: `{{bearer}}` is the request's token, `{{target}}` its path and query,
    `{{form NAME}}` a field of its form."""
    form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
    text = text.replace("{{bearer}}", request.bearer() or "").replace("{{target}}", request.target)
    return re.sub(r"\{\{form (\w+)\}\}", lambda field: form.get(field[1], ""), text)


class RequestLog:
    """Every request seen, in the order of arrival. The value of `Authorization` is never kept, only its scheme."""

    def __init__(self):
        self.lock = threading.Lock()
        self.entries: list[dict] = []

    def begin(self, request: Request, complete: bool) -> dict:
        scheme = request.header("Authorization").partition(" ")[0]
        entry = {
            "method": request.method,
            "path": request.path,
            "query": request.raw_query,
            "headers": {k.lower(): v for k, v in request.headers.items() if k.lower() != "authorization"},
            "authorization": bool(scheme),
            "authorization_scheme": scheme or None,
            "body_bytes": len(request.body),
            "complete": complete,
            "time": time.time(),
            "status": None,
            "fault": None,
        }
        if not request.path.startswith(BLOBS):
            entry["body"] = self.readable(request)
        with self.lock:
            entry["number"] = len(self.entries) + 1
            self.entries.append(entry)
        return entry

    @staticmethod
    def readable(request: Request):
        if "json" in request.header("Content-Type"):
            try:
                return request.json()
            except ValueError:
                pass
        return request.body[:BODY_LOG_LIMIT].decode("utf-8", "replace")

    def snapshot(self) -> list[dict]:
        with self.lock:
            return [dict(entry) for entry in self.entries]

    def clear(self):
        with self.lock:
            self.entries.clear()


class Server(ThreadingHTTPServer):
    """Answers on loopback; `services` and `control` turn a request into a reply."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        port: int,
        services: Callable[[Request], Reply],
        control: Callable[[Request], Reply],
        log: RequestLog,
        faults: Faults,
    ):
        super().__init__(("127.0.0.1", port), Handler)
        self.services = services
        self.control = control
        self.log = log
        self.faults = faults

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format, *args):
        """Keeps quiet: the log of requests is served by the control API."""

    def read_body(self) -> tuple[bytes, bool]:
        """The body, and whether it came whole."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        return body, len(body) == length

    def read_chunks(self) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        while True:
            line = self.rfile.readline(1024).split(b";")[0].strip()
            if not line:
                return b"".join(parts), False
            size = int(line, 16)
            if size == 0:
                while self.rfile.readline(65536).strip():
                    pass
                return b"".join(parts), True
            part = self.rfile.read(size)
            parts.append(part)
            if len(part) < size or self.rfile.readline(8) != b"\r\n":
                return b"".join(parts), False

    def serve(self):
        body, complete = self.read_body()
        request = Request(self.command, self.path, self.headers, body)
        if request.path.startswith(CONTROL):
            self.send(self.answer(self.server.control, request))
            return
        entry = self.server.log.begin(request, complete)
        if not complete:
            self.close_connection = True
            return
        fault = self.server.faults.strike(request.method, request.target) or Fault.none()
        entry["fault"] = fault.kind
        time.sleep(fault.delay)
        if fault.reset:
            self.reset_connection()
            return
        reply = Reply.of_fault(fault, request) if fault.status else self.answer(self.server.services, request)
        entry["status"] = reply.status
        if fault.drop_reply:
            self.close_connection = True
            return
        self.send(reply, fault.truncate)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    @staticmethod
    def answer(service: Callable[[Request], Reply], request: Request) -> Reply:
        try:
            return service(request)
        except Exception:  # a defect of the double must show as such, in the test and here
            traceback.print_exc()
            return Reply.json({"double": "internal error", "trace": traceback.format_exc()}, 500)

    def reset_connection(self):
        """Closes the connection so that the client's system sees RST, not an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def send(self, reply: Reply, truncate: int | None = None):
        self.send_response_only(reply.status)
        self.send_header("Server", "github-double")
        self.send_header("Date", self.date_time_string())
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status not in (204, 304):
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:truncate])
        if truncate is not None:
            self.close_connection = True
