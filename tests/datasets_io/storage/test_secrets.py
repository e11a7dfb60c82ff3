"""Is what is secret in a text shown nowhere, and every other text as it is?"""

import html
import json
import shlex
import traceback
from urllib.parse import quote, unquote

import pytest

from datasets_io.storage import secrets
from datasets_io.storage.artefacts import move_to_quarantine, record_failure
from datasets_io.storage.files import Files
from datasets_io.storage.secrets import has_secrets, remember_arguments, remember_secrets, without_secrets


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
        ("s3://AKIAKEY:123/hunter2abc@bucket/x?a=1", "s3://***@bucket/x?a=1"),
        ("https://h/x?secret%5Fkey=abc&%73ig=b&b%5F=1", "https://h/x?secret%5Fkey=***&%73ig=***&b%5F=1"),
        ("https://h/x#access_token=abc", "https://h/x#access_token=***"),
        ("'http://user:it's-hunter2@h:5000/' and 'x@y'", "'http://***@h:5000/' and 'x@y'"),
        ("['http://h/r?secret_key=ab'hunter2', 'b']", "['http://h/r?secret_key=***', 'b']"),
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
        '{"a":"http://host","b":"me@here.org"}',
        "['http://host', 'me@here.org'] and {'a':'http://host','b':'me@x'}",
        "<a href='http://host'>me@here.org</a>",
        "http://host/x#section=3 and ?assignee=me, %20=1",
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


PASSWORDS = [
    "pa'ssword99", 'say"hunter2', "<hunter2>", "123/hunter2abc", "a/b'c/hunter2", "hunter2?x", "hunter2#x",
    "h[red]unter2", "hun,ter;2", "hunter@2", "hun ter2", "hun%27ter2", "a'", "x'\"<&>y", "hunter2\\n", "123",
]  # fmt: skip


@pytest.fixture
def nothing_given(monkeypatch):
    monkeypatch.setattr(secrets, "_given", set())


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_given_uri_is_divided_as_a_whole_whatever_its_password_has(nothing_given, password):
    uri = f"s3://AKIAKEY:{password}@bucket/x?scheme=http"
    assert has_secrets(uri)
    remember_secrets(uri)
    for text in (uri, repr(uri), repr(f"{uri}'\""), json.dumps(uri), html.escape(uri), shlex.join(["--storage", uri])):
        shown = without_secrets(f"error: {text}: no")
        assert "***@bucket/x?" in shown and "AKIAKEY" not in shown and "hunter" not in shown and "ssword" not in shown
    assert len(password) < 6 or without_secrets(f"a {password}, {quote(password, safe='')}") == "a ***, ***"
    assert len(unquote(password)) < 6 or without_secrets(f"a {unquote(password)}.") == "a ***."


@pytest.mark.parametrize("password", [word for word in PASSWORDS if "&" not in word])
@pytest.mark.parametrize("name", ["secret_key", "secret%5Fkey"])
def test_an_option_of_a_given_uri_is_hidden_to_its_end(nothing_given, name, password):
    uri = f"s3://bucket/x?{name}={password}&region=us"
    assert has_secrets(uri)
    remember_secrets(uri)
    for text in (uri, repr(uri), json.dumps(uri), shlex.join(["--storage", uri])):
        assert f"?{name}=***&region=us" in without_secrets(text), text


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a@b?scheme=http", "http://host:8080/path/a@b", "file://C:/Users/x:1@y/z", "abfss://box@account/x",
        "/tmp/a:b/c@d", "host:/export/a@b", "C:/Users/x:1@y", "http://[::1]:80/a@b", "http://host:80/x?mail=a@b",
        "demo", "chexpert=/data/x", "hdfs://nn:8020/a@b", "a'b",
    ],
)  # fmt: skip
def test_what_has_no_password_is_not_taken_for_a_uri_with_one(nothing_given, uri):
    remember_arguments([uri, f"--storage={uri}"])
    assert not has_secrets(uri) and not secrets._given


def test_what_libraries_take_for_a_path_is_hidden_too(nothing_given):
    remember_secrets("s3://KEY:123/hunter2abc@bucket/x")
    assert without_secrets("listing 'hunter2abc@bucket/x' in bucket 'KEY'") == "listing '***@bucket/x' in bucket 'KEY'"


def test_a_command_line_is_remembered_before_anything_of_it_is_shown(nothing_given):
    remember_arguments(["--storage", "s3://K:it's-one@b", "--mlflow=http://u:it's-two@h:5000/", "s3:/K:it's/three@b"])
    assert without_secrets("it's-one it's-two it's/three s3:/K:it's/three@b") == "*** *** *** s3:/***@b"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("RAY_ADDRESS", "ray://us:it's-hunter2@127.0.0.1:9", "ray://***@127.0.0.1:9"),
        ("RAY_ADDRESS", "user:hunter2abc@127.0.0.1:9", "***@127.0.0.1:9"),
        ("RAY_ADDRESS", "user:12/hunter2@127.0.0.1:9", "***@127.0.0.1:9"),
        ("RAY_ADDRESS", "user:abc@127.0.0.1:9", "***@127.0.0.1:9"),
        ("RAY_ADDRESS", "127.0.0.1:9", "127.0.0.1:9"),
        ("MLFLOW_TRACKING_URI", "http://user:it's-hunter2@h:5000/", "http://***@h:5000/"),
        ("http_proxy", "http://me:<hunter2>@host:1", "http://***@host:1"),
        ("HTTPS_PROXY", "me:hunt'er2@host:1", "***@host:1"),
        ("SERVERS", "redis://:hun,ter2@a:1,redis://:it's-two@b:1", "redis://***@a:1,redis://***@b:1"),
        ("DSN", 'x="postgres://me:it\'s-hunter2@h/x" y', 'x="postgres://***@h/x" y'),
    ],
)
def test_uris_of_the_environment_are_divided_as_a_whole(monkeypatch, name, value, shown):
    monkeypatch.setenv(name, value)
    assert without_secrets(f"{name} is {value}") == f"{name} is {shown}"


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


@pytest.mark.parametrize(
    "name",
    ["MYTOKEN", "GHTOKEN", "ghToken", "LAB2TOKEN", "MINIO_SECRETKEY", "S3_ACCESSKEY", "ACCESSKEY", "MY_SECRET_KEY",
     "OPENAIAPIKEY", "OPENAIAPI_KEY", "MYPASSWD", "GPGPASSPHRASE", "MYTOKEN_2", "DBPASSWORD", "CLIENTSECRET"],
)  # fmt: skip
def test_a_word_is_known_in_a_name_that_is_written_together(monkeypatch, name):
    monkeypatch.setenv(name, "canary-word")
    assert without_secrets("a canary-word.") == "a ***."


@pytest.mark.parametrize(
    "name",
    ["COMPASS", "PATH", "BYPASS", "TOKENIZER", "MAXTOKENS", "KEYBOARD", "PASSENGER", "SORTKEY", "MONKEY", "HOTKEY"],
)
def test_a_word_within_another_one_is_none(monkeypatch, name):
    monkeypatch.setenv(name, "plain-word")
    assert without_secrets("a plain-word.") == "a plain-word."


@pytest.mark.parametrize("uri", ["s3://AKIAKEY:SECRETPASS12/ab+c@bucket/y", "s3x://AKIAKEY:SECRETPASS12@bucket/y"])
def test_a_uri_that_is_refused_is_quoted_without_them(nothing_given, uri):
    with pytest.raises(ValueError, match=r"\*\*\*@bucket/y") as refused:
        Files(uri)
    assert "SECRETPASS12" not in "".join(traceback.format_exception(refused.value))


def test_why_a_file_is_in_quarantine_is_kept_without_them(tmp_path):
    files = Files(str(tmp_path))
    files.write("a/b", b"1")
    target = move_to_quarantine(files, "a/b", "no http://user:hunter22@host")
    (why,) = (path for path in files.list(target) if path.endswith(".json"))
    assert b"hunter22" not in files.read(why) and b"http://***@host" in files.read(why)


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
