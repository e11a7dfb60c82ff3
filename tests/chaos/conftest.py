"""An S3 server that all tests of this folder share, and a bucket for each."""

import os
import subprocess
import sys
import urllib.request

import pytest
from s3_server import KEYS, SERVER, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=stream, text=True, env={**os.environ, **KEYS}
        )
    yield Server(int(process.stdout.readline()), log)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def bucket(server, request, monkeypatch) -> str:
    """The URI of a new bucket, with the server's address in it."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{abs(hash(request.node.name)) % 10**8}"
    urllib.request.urlopen(urllib.request.Request(f"http://{server.address}/{name}", method="PUT"), timeout=30)
    return f"s3://{name}/radsweep?endpoint_override={server.address}&scheme=http"
