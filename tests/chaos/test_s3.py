"""The same store on an S3 server that this test starts: damage, leases, listing; and a study, killed and resumed."""

import errno
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.exceptions import IncompleteReadError, NoCredentialsError
from s3_server import KEYS

from datasets_io.storage.artefacts import (
    QUARANTINE,
    ConflictingResult,
    CorruptArtefact,
    is_done,
    open_artefacts,
    problems,
    publish,
    quarantine,
)
from datasets_io.storage.create_once import s3_objects
from datasets_io.storage.files import Files, below
from sweep.store.lease import LEASES, Lease

STORM_SECONDS, LONG_STORM_SECONDS = 5, 100  # pyarrow itself gives up after 2; the second with --by-hand
ROOT = Path(__file__).resolve().parents[2]


def test_the_store_behaves_as_on_a_disk(bucket):
    files = Files(bucket)
    assert not files.is_local and not is_done(files, "cells/c")
    assert publish(files, "cells/c", {"a.bin": b"abc"}, {"value": 1.5}) is True
    assert publish(files, "cells/c", {"a.bin": b"abc"}, {"value": 1.5}) is False
    with pytest.raises(ConflictingResult):
        publish(files, "cells/c", {"a.bin": b"other"}, {"value": 2.0})
    found = open_artefacts(files, "cells/c")
    assert found.read("a.bin") == b"abc" and found.result["value"] == 1.5
    assert files.list("cells") == sorted(files.list("cells")) and len(files.list("cells")) == 3
    assert set(files.sizes("cells").values()) >= {3, 5} and files.list("nothing") == []


def test_of_two_writers_at_once_the_first_write_stands(bucket):
    """Each of 8 writers has its own client, and all write at the same moment."""
    for round_ in range(6):
        path, gate = f"cells/c{round_}/result.json", threading.Barrier(8)

        def write(number: int, path=path, gate=gate) -> bool:
            files = Files(bucket)
            files.exists = lambda path: False  # each has looked before any has written
            gate.wait()
            return files.write_once(path, str(number).encode())

        with ThreadPoolExecutor(8) as pool:
            written = list(pool.map(write, range(8)))
        assert sum(written) == 1 and Files(bucket).read(path) == str(written.index(True)).encode()


def test_an_upload_that_an_exception_ends_shows_nothing(bucket, monkeypatch):
    class Torn(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 12 << 20:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    files = Files(bucket)
    monkeypatch.setattr("datasets_io.storage.patience.RETRY_SECONDS", 0)
    with pytest.raises(OSError, match="Input/output"):
        files.write("shard.parquet", Torn(bytes(20 << 20)))
    assert not files.exists("shard.parquet") and files.list("") == []


def test_damage_goes_to_quarantine_and_is_computed_again(bucket):
    files = Files(bucket)
    publish(files, "cells/c", {"a.bin": b"abc"}, {"value": 1.5})
    files.write(f"cells/c/{open_artefacts(files, 'cells/c').result['files']['a.bin']['path']}", b"abd")
    with pytest.raises(CorruptArtefact):
        open_artefacts(files, "cells/c").read("a.bin")
    assert quarantine(files, "cells/c") and not is_done(files, "cells/c") and len(files.list(QUARANTINE)) == 3
    publish(files, "cells/c", {"a.bin": b"abc"}, {"value": 1.5})
    assert problems(files, "cells/c") == []


def test_leases_work_there_too(bucket):
    files = Files(bucket)
    with Lease(files) as first, Lease(files) as second:
        assert first.claim({"a", "b"})[0] == {"a", "b"}
        mine, held = second.claim({"b", "c"})
        assert mine == {"c"} and set(held) == {"b"}
    assert files.list(LEASES) == []


def test_results_are_listed_without_a_request_for_each(bucket, server):
    files = Files(bucket)
    for number in range(60):
        publish(files, f"cells/c{number}", {"a.bin": str(number).encode()}, {"value": number})
    time.sleep(0.2)
    before = server.requests()
    done = {path for path in files.sizes("cells") if path.endswith("/result.json")}
    time.sleep(0.2)
    assert before > 60, "the requests are counted"
    assert len(done) == 60 and server.requests() - before <= 3


def test_options_of_a_uri_stay_at_its_end():
    assert below("s3://b/x?scheme=http", "ray") == "s3://b/x/ray?scheme=http" and below("/a/b", "ray") == "/a/b/ray"
    assert below("s3://b/x", "ray") == "s3://b/x/ray"


@pytest.mark.chaos
def test_a_study_on_s3_killed_and_resumed_gives_the_same_table_as_on_a_disk(server, bucket, tmp_path):
    name = bucket.partition("//")[2].partition("/")[0]
    """And what the URI has in it stands nowhere: not on the terminal, in results, logs or reports."""
    environment = {
        **{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS" and k not in KEYS},
        "RADSWEEP_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "sweep.run", "--study", "tests/chaos/tiny_study.py", "--storage"]
    disk = subprocess.run([*command, str(tmp_path / "disk")], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert disk.returncode == 0, disk.stdout[-2000:] + disk.stderr[-2000:]
    secret = "SecretOfTheURI0123/with+signs"
    remote = (
        f"s3://AKIAOFTHEURI:{quote(secret, safe='')}@{name}/radsweep?endpoint_override={server.address}&scheme=http"
    )
    files = Files(bucket)
    said = tmp_path / "said"
    with open(said, "w") as stream:
        driver = subprocess.Popen(
            [*command, remote], cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    deadline = time.monotonic() + 600
    while not [p for p in files.list("cells") if p.endswith("/result.json")] and time.monotonic() < deadline:
        time.sleep(0.5)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = {path: files.read(path) for path in files.list("cells") if path.endswith("/result.json")}
    assert done
    again = subprocess.run([*command, remote], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    assert all(files.read(path) == content for path, content in done.items()), "finished cells are not computed again"
    local = (tmp_path / "disk" / "reports" / "tiny" / "results.csv").read_bytes()
    assert files.read("reports/tiny/results.csv") == local and files.list(LEASES) == []
    wrong = subprocess.run(
        [*command, remote.replace("/radsweep?", "/radsweep?no_such_option=1&")],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode == 2 and "no_such_option" in wrong.stderr
    texts = {path: files.read(path) for path in files.list("")} | {"wrong": wrong.stderr.encode()}
    texts |= {"killed": said.read_bytes(), "again": (again.stdout + again.stderr).encode()}
    assert b"s3://***@" in texts["again"] and len(texts) > 50
    hidden = [word.encode() for word in (secret, quote(secret, safe=""), "AKIAOFTHEURI")]
    assert not [path for path, content in texts.items() if any(word in content for word in hidden)]


class Away(BaseHTTPRequestHandler):
    """In front of the server: answers 503 or 429 while `Away.status` is set, and passes on what comes otherwise."""

    protocol_version = "HTTP/1.1"
    status, lost, behind, refused = 0, False, "", 0

    def log_message(self, *words):
        """Nothing."""

    def answer(self):
        """One request."""
        body = self._body()
        if Away.status:
            Away.refused += 1
            self._send(Away.status, {}, b"")
            return
        server = http.client.HTTPConnection(Away.behind, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        server.request(self.command, self.path, body, kept)
        response = server.getresponse()
        content = response.read()
        if Away.lost and self.command == "PUT":
            open_for, Away.lost = Away.lost, False
            time.sleep(open_for if open_for > 1 else 0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)  # it is done, and nobody is told
            return
        self._send(response.status, dict(response.getheaders()), content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _send(self, status: int, headers: dict[str, str], content: bytes):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        length = next((v for n, v in headers.items() if n.lower() == "content-length"), str(len(content)))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer


@pytest.fixture
def distant(server, bucket):
    """Files behind a server that may be away."""
    Away.behind, Away.status, Away.lost, Away.refused = server.address, 0, False, 0
    front = ThreadingHTTPServer(("127.0.0.1", 0), Away)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    yield Files(bucket.replace(server.address, f"127.0.0.1:{front.server_port}"))
    front.shutdown()
    front.server_close()


def test_a_server_that_is_away_for_a_moment_costs_nothing(distant, times):
    storm = times(STORM_SECONDS, LONG_STORM_SECONDS)
    distant.write("k", b"1")
    calls = {
        "exists": lambda: distant.exists("k"), "read": lambda: distant.read("k"), "list": lambda: distant.list(""),
        "write": lambda: distant.write("k2", b"2"), "write_once": lambda: distant.write_once("k3", b"3"),
    }  # fmt: skip
    expected = {"exists": True, "read": b"1", "list": ["k"], "write": None, "write_once": True}
    Away.status = 503
    threading.Timer(storm / 2, lambda: setattr(Away, "status", 429)).start()
    threading.Timer(storm, lambda: setattr(Away, "status", 0)).start()
    with ThreadPoolExecutor(len(calls)) as pool:
        found = {name: pool.submit(call) for name, call in calls.items() if name != "list"}
        assert {name: future.result() for name, future in found.items()} | {"list": ["k"]} == expected
    assert Away.refused >= 8 and distant.list("") == ["k", "k2", "k3"]


def test_a_read_is_one_request_and_one_that_is_cut_short_is_made_again(bucket, server, monkeypatch):
    files = Files(bucket)
    files.write("k", b"12345")
    before = server.requests()
    assert files.read("k") == b"12345" and server.requests() - before == 1
    with pytest.raises(FileNotFoundError):
        files.read("none")
    client, answers = s3_objects(bucket).client, []
    real = client.get_object

    class Cut:
        def read(self):
            raise IncompleteReadError(actual_bytes=3, expected_bytes=5)

    def cut(**asked):
        answers.append(asked)
        return {"Body": Cut()} if len(answers) == 1 else real(**asked)

    monkeypatch.setattr(client, "get_object", cut)
    assert files.read("k") == b"12345" and len(answers) == 2


def test_what_the_one_client_cannot_ask_the_other_one_asks(bucket, monkeypatch):
    """pyarrow may know of credentials, or be given options, that boto3 does not have."""
    files = Files(bucket)
    files.write("k", b"12345")

    def no_credentials(**asked):
        raise NoCredentialsError

    monkeypatch.setattr(s3_objects(bucket).client, "get_object", no_credentials)
    assert files.read("k") == b"12345"
    monkeypatch.setattr(s3_objects(bucket).client, "put_object", no_credentials)
    assert files.write_once("made", b"1") is True and files.write_once("made", b"2") is False
    other = Files(f"{bucket}&tls_ca_dir_path=/nowhere")
    assert other.read("k") == b"12345" and not s3_objects(other.uri).asks
    assert other.write_once("other", b"1") is True and other.write_once("other", b"2") is False


@pytest.mark.parametrize("lost", [True, 20.0])
def test_a_write_whose_answer_is_lost_is_the_first_one(distant, monkeypatch, lost):
    """The connection is closed at once, or it stays open for 20 s in which nothing comes."""
    monkeypatch.setattr("datasets_io.storage.create_once.ANSWER_SECONDS", 1.0)
    Away.lost = lost
    began = time.monotonic()
    assert distant.write_once("k", b"1") is True and not Away.lost
    assert time.monotonic() - began < 15
    assert distant.write_once("k", b"2") is False and distant.read("k") == b"1"
