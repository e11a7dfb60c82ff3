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
        ("http://user:one@two@host/x", "http://***@host/x"),
        ("https://h/x?sv=1&sig=abc%2B&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("A=https;AccountName=a;AccountKey=abc==;B=x", "A=https;AccountName=a;AccountKey=***;B=x"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
        ("no folder s3:/AKIA1:abc/def@bucket/x", "no folder s3:/***@bucket/x"),
        ("/tmp/http:/user:p:w@host and https:/u:p@h", "/tmp/http:/***@host and https:/***@h"),
        ("abfss://box:key@account/x", "abfss://***@account/x"),
        ("{'x-api-key': 'abc.def'}, X-Api-Key: abc", "{'x-api-key': '***'}, X-Api-Key: ***"),
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
        "abfss://container@account.dfs.core.windows.net/path",
        "git+ssh://git@host/x",
        "http://[::1]:80/a@b",
        "file://C:/Users/x@y/z",
        "host:/export/a@b, host:/x@y and C:/Users/x:1@y",
        "http:/host:80/x@y",
        "an authorization: of all",
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
    hidden |= {
        "PGPASSWORD": "20221231",
        "AZURE_STORAGE_KEY": "kkkkkk==",
        "SSH_PASSPHRASE": "a phrase",
        "A_PAT": "gp_123",
        "KAGGLE_KEY": "0123456789abcdef",
        "SSHPASS": "ssh-word",
        "MYSQL_PWD": "sql-word",
        "SLURM_JWT": "eyJh.bGci",
    }
    shown = {"RAY_AUTH_TOKEN_PATH": "/home/x/token", "TOKENIZERS_PARALLELISM": "falsehood", "MY_PASSWORD": "abc"}
    shown |= {"GOOGLE_APPLICATION_CREDENTIALS": __file__, "MAX_TOKEN": "100000"}
    shown |= {
        "SORT_KEY": "patient_id",
        "HOST_KEY": __file__,
        "PWD": "/somewhere",
        "OLDPWD": "/elsewhere",
        "LC_PW": "on",
    }
    for name, value in (hidden | shown).items():
        monkeypatch.setenv(name, value)
    for value in hidden.values():
        assert without_secrets(f"a {value}.") == "a ***."
    for value in shown.values():
        assert without_secrets(f"a {value}.") == f"a {value}."


def test_a_password_of_a_uri_in_the_environment_is_found_alone(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://me:one%2Ftwo@host/x")
    monkeypatch.setenv("http_proxy", "http://me:proxy-word@host:1")
    monkeypatch.setenv("HTTPS_PROXY", "me:other-word@host:1")
    monkeypatch.setenv("SERVERS", "redis://:first-word@a:1,redis://:second-word@b:1")
    assert without_secrets("one%2Ftwo one/two one%252Ftwo proxy-word") == "*** *** *** ***"
    assert without_secrets("407 for me:other-word, second-word first-word") == "407 for me:***, *** ***"


def test_a_failure_is_kept_without_them(tmp_path):
    files = Files(str(tmp_path))
    record_failure(files, "cells/c", "no http://user:hunter22@host", "Traceback: http://user:hunter22@host")
    assert b"hunter22" not in files.read("cells/c/failed.json") and b"http://***@host" in files.read(
        "cells/c/failed.json"
    )
