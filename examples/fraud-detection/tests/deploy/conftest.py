"""A place to deploy to."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import Deployment


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Deployment]:
    """Deploys to processes on this machine, and ends them afterwards."""
    staging, production = free_ports(2)
    deployment = Deployment(
        {
            "DEPLOY_TARGET": "local",
            "DEPLOY_STATE": str(tmp_path / "state"),
            "STAGING_PORT": str(staging),
            "PRODUCTION_PORT": str(production),
            "PYTHON": sys.executable,
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "RUNNER_TRACKING_ID": "github_1234",
        }
    )
    yield deployment
    deployment("stop")
