"""Is what is secret in a text shown nowhere, and every other text as it is?"""

import pytest

from datasets_io.storage import secrets
from datasets_io.storage.artefacts import record_failure
from datasets_io.storage.files import Files
from datasets_io.storage.secrets import remember_secrets, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA1:abc/def+x@bucket/r?scheme=http", "s3://***@bucket/r?scheme=http"),
        ("s3://AKIA1:abc%2Fdef@bucket/r", "s3://***@bucket/r"),
        ("'http://user:p:w@host:5000/a@b'", "'http://***@host:5000/a@b'"),
        ("http://user:12345678@host and gs://token@bucket", "http://***@host and gs://***@bucket"),
        ("https://host/x?api_key=abc&b=1&X-Amz-Security-Token=q;", "https://host/x?api_key=***&b=1&X-Amz-Security-Token=***;"),
        ("s3://b/r?secret_key=abc&region=us", "s3://b/r?secret_key=***&region=us"),
    ],
)  # fmt: skip
def test_passwords_and_tokens_of_uris_are_hidden(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/folder/a@b.dcm",
        "http://host:8080/path/a@b",
        "mail me@here.org, a token=3 of the text, tokens=5 and a password",
        "/data/MIMIC-CXR?x",
        "s3://bucket/r?scheme=http&endpoint_override=127.0.0.1:5000",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert without_secrets(text) == text


def test_a_password_is_found_alone_and_decoded(monkeypatch):
    monkeypatch.setattr(secrets, "_given", set())
    remember_secrets("s3://KEY:abc%2Fdef%2Bghi@bucket/r")
    assert without_secrets("403 for abc/def+ghi (abc%2Fdef%2Bghi)") == "403 for *** (***)"


def test_secrets_of_the_environment_are_hidden_and_places_are_not(monkeypatch):
    hidden = {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "MLFLOW_PASSWORD": "hunter22", "HF_TOKEN": "hf_abcdefgh"}
    shown = {"RAY_AUTH_TOKEN_PATH": "/home/x/token", "TOKENIZERS_PARALLELISM": "falsehood", "MY_PASSWORD": "abc"}
    for name, value in (hidden | shown).items():
        monkeypatch.setenv(name, value)
    text = "wJalrXUtnFEMI hunter22 hf_abcdefgh /home/x/token falsehood abc"
    assert without_secrets(text) == "*** *** *** /home/x/token falsehood abc"


def test_a_failure_is_kept_without_them(tmp_path):
    files = Files(str(tmp_path))
    record_failure(files, "cells/c", "no http://user:hunter22@host", "Traceback: http://user:hunter22@host")
    assert b"hunter22" not in files.read("cells/c/failed.json") and b"http://***@host" in files.read(
        "cells/c/failed.json"
    )
