#!/usr/bin/env python3
"""A GitHub for tests: the results service with its blob storage, the REST API, OIDC, and AWS's STS, under one origin.

    github.py [--port 0] [--state FILE] [--until-stdin-closes]

prints one line of JSON, {"url": "http://127.0.0.1:PORT", "port": PORT}, once it answers, and runs until it is told to
end. It answers on loopback only and keeps everything in memory. It needs nothing but Python 3.11.

    POST   /_control/state          merges a state document (state.py says what is in one); GET shows what is there
    POST   /_control/runtime-token  starts a job: {"repository", "run_id", "attempt", "job", "permissions", …}
    GET    /_control/requests       every request seen but those to /_control; ?path=REGEX&method=M chooses
    POST   /_control/faults         replaces the rules for what goes wrong (faults.py); GET shows how often each did
    POST   /_control/reset          forgets everything
"""

import argparse
import contextlib
import json
import re
import signal
import sys
import threading
from dataclasses import asdict

from artifacts import PREFIX, Artifacts
from blobs import Blobs
from faults import BadRule, Faults
from http_base import BLOBS, CONTROL, Reply, Request, RequestLog, Server
from identity import Jobs, Oidc, Signer, Sts
from rest import Rest
from state import BadState, State


class Double:
    """All services, one at a time."""

    def __init__(self):
        self.lock = threading.RLock()
        self.log = RequestLog()
        self.faults = Faults()
        self.forget()

    def forget(self):
        self.state = State()
        self.signer = Signer()
        self.blobs = Blobs(self.state)
        self.artifacts = Artifacts(self.state, self.blobs)
        self.rest = Rest(self.state, self.artifacts)
        self.jobs = Jobs(self.state, self.signer)
        self.oidc = Oidc(self.state, self.signer)
        self.sts = Sts(self.state, self.signer)

    def serve(self, request: Request) -> Reply:
        with self.lock:
            if request.path.startswith(PREFIX):
                return self.artifacts.serve(request)
            if request.path.startswith(BLOBS):
                return self.blobs.serve(request)
            if request.path == "/oidc":
                return self.oidc.serve(request)
            if request.path in ("/sts", "/sts/"):
                return self.sts.serve(request)
            return self.rest.serve(request)

    def control(self, request: Request) -> Reply:
        command = (request.method, request.path.removeprefix(CONTROL))
        try:
            with self.lock:
                if command == ("GET", "state"):
                    return Reply.json(self.describe())
                if command == ("GET", "requests"):
                    return Reply.json(self.requests(request))
                if command == ("GET", "faults"):
                    return Reply.json(self.faults.snapshot())
                if command == ("POST", "state"):
                    self.merge(request.json())
                elif command == ("POST", "runtime-token"):
                    return Reply.json(self.jobs.start(request.json(), request.origin))
                elif command == ("POST", "faults"):
                    self.faults.replace(request.json())
                elif command == ("POST", "reset"):
                    self.forget()
                    self.faults.replace([])
                    self.log.clear()
                else:
                    return Reply.json({"error": f"no such command: {' '.join(command)}"}, 404)
        except (BadState, BadRule, ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply.json({"error": f"{type(error).__name__}: {error}"}, 400)
        return Reply.json({"ok": True})

    def merge(self, document: dict):
        self.state.merge(document)
        for artifact in document.get("artifacts", []):
            self.artifacts.seed(artifact)

    def requests(self, request: Request) -> list[dict]:
        path, method = re.compile(request.query.get("path", "")), request.query.get("method")
        return [
            entry for entry in self.log.snapshot() if path.search(entry["path"]) and method in (None, entry["method"])
        ]

    def describe(self) -> dict:
        """What is there, without the tokens."""
        state = self.state
        return {
            "settings": state.settings,
            "repositories": state.repositories,
            "runs": list(state.runs.values()),
            "pulls": list(state.pulls.values()),
            "comments": [comment for _, comment in sorted(state.comments.items())],
            "roles": sorted(state.roles),
            "sessions": state.sessions,
            "artifacts": [asdict(artifact) for artifact in self.artifacts.records.values()],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", help="a file with a state document to begin with")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that holds the pipe")
    arguments = parser.parse_args()
    double = Double()
    if arguments.state:
        with open(arguments.state, encoding="utf-8") as file:
            double.merge(json.load(file))
    server = Server(arguments.port, double.serve, double.control, double.log, double.faults)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if arguments.until_stdin_closes:

        def wait():
            sys.stdin.buffer.read()
            server.shutdown()

        threading.Thread(target=wait, daemon=True).start()
    port = server.server_address[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "port": port}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
