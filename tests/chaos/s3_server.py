"""An S3 server for tests, and what it has been asked."""

import re
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
SERVER = (
    "import logging, sys, time; from moto.server import ThreadedMotoServer\n"
    "logging.getLogger('werkzeug').setLevel(logging.INFO)\n"
    "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start()\n"
    "print(server.get_host_and_port()[1], flush=True); time.sleep(100000)\n"
)


class Server:
    """Address of the server and the requests that it has seen."""

    def __init__(self, port: int, log: Path):
        self.address, self.log = f"127.0.0.1:{port}", log

    def requests(self) -> int:
        return len(self.seen())

    def seen(self) -> list[str]:
        """`HEAD /bucket/key` of each, in order. The server logs a request before it answers."""
        # Those that it answers with an error or in part are in colour.
        return re.findall(r'"(\S+ \S+) HTTP/1\.1', re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text()))
