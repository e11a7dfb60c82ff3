"""Is it known in one look that nobody answers, and is the hub's library then not asked to wait for each file?"""

import os
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import URLError

import pytest

from sweep.studies import demo
from trainables.networks.text import HuggingFaceText, TinyText
from trainables.preflight import hub
from trainables.preflight.verdict import EncoderCheck, PretrainingCheck
from trainables.recipe import BackboneSpec, EncoderSource, ImageNetInit, RandomInit

NETWORK = BackboneSpec("resnet18", 32)
BY_NAME = EncoderCheck(ImageNetInit(NETWORK))


@contextmanager
def answering(status: int):
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def without_settings(monkeypatch):
    monkeypatch.setenv(hub.OFFLINE, "0")
    monkeypatch.delenv(hub.OFFLINE)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("status", [200, 403, 503])
def test_whoever_answers_is_there(status, monkeypatch):
    with answering(status) as address:
        monkeypatch.setenv(hub.ENDPOINT, address)
        assert not hub.is_out_of_reach()
        hub.work_offline_if_out_of_reach([BY_NAME])
    assert hub.OFFLINE not in os.environ


def test_nobody_at_a_port_or_in_time_is_out_of_reach(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv(hub.ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert hub.is_out_of_reach(), "refused"
        silent.listen()
        assert hub.is_out_of_reach(seconds=0.2), "no answer"
    hub.work_offline_if_out_of_reach([EncoderCheck(RandomInit(NETWORK))])
    assert hub.OFFLINE not in os.environ, "nothing is asked for"
    hub.work_offline_if_out_of_reach([EncoderCheck(RandomInit(NETWORK)), BY_NAME])
    assert os.environ[hub.OFFLINE] == "1"


@pytest.mark.parametrize(
    ("error", "is_out"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), True),
        (URLError(OSError(101, "Network is unreachable")), True),
        (URLError(ssl.SSLCertVerificationError("self-signed certificate")), False),
        (ValueError("unknown url type"), False),
    ],
)
def test_what_the_library_may_overcome_is_left_to_it(error, is_out, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(hub, "urlopen", fail)
    assert hub.is_out_of_reach() == is_out


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv(hub.OFFLINE, "0")
    monkeypatch.setattr(hub, "is_out_of_reach", lambda: True)
    hub.work_offline_if_out_of_reach([BY_NAME])
    assert os.environ[hub.OFFLINE] == "0"


def test_names_are_asked_for_and_files_are_not(tmp_path):
    recipe = next(row.recipe for row in demo().rows if row.name == "clip")
    by_name = replace(recipe, text=HuggingFaceText("someone/bert"))
    for asks, check in (
        (True, BY_NAME),
        (False, EncoderCheck(ImageNetInit(NETWORK, weights_file="a.safetensors"))),
        (True, EncoderCheck(EncoderSource(NETWORK))),
        (False, EncoderCheck(EncoderSource(NETWORK, "0" * 64, "a.safetensors"))),
        (True, PretrainingCheck(by_name, 32, None, 4)),
        (False, PretrainingCheck(replace(recipe, text=TinyText()), 32, None, 4)),
    ):
        assert hub.asks_hub(check) == asks, check
