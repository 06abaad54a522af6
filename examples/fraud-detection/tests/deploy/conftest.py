"""A place to deploy to."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import Deployment


def reserve_port() -> socket.socket:
    """Returns a socket whose port only HAProxy can listen on, until the socket is closed.

    It never listens, so it gets no connection. With SO_REUSEPORT, which HAProxy sets as well, both
    may have the port. The kernel gives it to nobody who does not set it, and to no client.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Deployment]:
    """Deploys to processes on this machine, and ends them afterwards."""
    with reserve_port() as staging, reserve_port() as production:
        deployment = Deployment(
            {
                "DEPLOY_TARGET": "local",
                "DEPLOY_STATE": str(tmp_path / "state"),
                "STAGING_PORT": str(staging.getsockname()[1]),
                "PRODUCTION_PORT": str(production.getsockname()[1]),
                "PYTHON": sys.executable,
                "GITHUB_OUTPUT": str(tmp_path / "output"),
                "RUNNER_TRACKING_ID": "github_1234",
            }
        )
        yield deployment
        deployment("stop")
