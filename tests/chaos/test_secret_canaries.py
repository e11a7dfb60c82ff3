"""Twenty secrets are planted as users have them, in URIs and in the environment: do they stand anywhere afterwards?

A real study on S3, with rows that end well and rows whose error quotes the whole environment, and every command that
reads it. Not looked at is what guarantees.md says is not hidden: the command line itself, which Ray's logs quote too.
"""

import os
import subprocess
import sys
import urllib.request
import zlib
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from drivers import ENVIRONMENT, ROOT

from datasets_io.storage.files import Files
from datasets_io.storage.secrets import without_secrets
from trainables.evaluation import cell_job

STUDY = "tests/chaos/small_storage.py"
SERVER = (
    "import time; from moto.server import ThreadedMotoServer\n"
    "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start()\n"
    "print(server.get_host_and_port()[1], flush=True); time.sleep(100000)\n"
)
# Run at the start of every Python process: a job of one protocol fails as a library does that dumps what it knows, and
# so does `sweep.status` where SPILL says so.
SPILL = """
import os, sys

def spill(*arguments, **named):
    text = " ".join(f"{name}={value}" for name, value in os.environ.items())
    raise RuntimeError(f"no answer: {os.environ['QUOTED']} {text}")

arguments = " ".join(sys.orig_argv)
if "default_worker.py" in arguments:
    import trainables.evaluation.cell_job as jobs
    made = jobs.__dict__[os.environ["SPILLS"]]
    def sometimes(*given, **named):
        if "FT10-" in repr(given):
            spill()
        return made(*given, **named)
    jobs.__dict__[os.environ["SPILLS"]] = sometimes
if os.environ.get("SPILL") and os.environ["SPILL"] in arguments:
    import sweep.status.readers
    sweep.status.readers.open_reader = spill
"""
SPILLS = "_supervised"  # of trainables.evaluation.cell_job, called for each fine-tuning
VARIABLES = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY", "RAY_AUTH_TOKEN", "AZURE_STORAGE_KEY", "AZURE_CLIENT_SECRET",
    "GITHUB_TOKEN", "KAGGLE_KEY", "PGPASSWORD", "RAY_REDIS_PASSWORD", "MY_SERVICE_PASSPHRASE",
)  # fmt: skip


def word(number: int) -> str:
    """Letters and digits that nothing else has; of the first the signs that a URI encodes."""
    return f"sQ{zlib.crc32(b'secret %d' % number):08x}Zv{number:02d}"


CANARIES = {name: word(number) for number, name in enumerate(VARIABLES)}
CANARIES |= {
    "AZURE_STORAGE_CONNECTION_STRING": word(20),
    "DATABASE_URL": f"{word(21)}/+x",
    "--storage": f"{word(22)}/with+signs",
    "--storage key": f"AKIA{word(23)}",
    "--mlflow": word(24),
}
WRAPPED = {
    "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=https;AccountName=me;AccountKey={};EndpointSuffix=x",
    "DATABASE_URL": "postgres://me:{}@127.0.0.1/x",
}


def environment() -> dict[str, str]:
    """Every canary that is an environment variable's, as its libraries want it."""
    return {
        name: WRAPPED.get(name, "{}").format(quote(value, safe="") if name in WRAPPED else value)
        for name, value in CANARIES.items()
        if not name.startswith("--")
    }


def forms(value: str) -> set[bytes]:
    return {value.encode(), quote(value, safe="").encode(), unquote(value).encode()}


def leaks(texts: dict[str, bytes]) -> list[str]:
    """`canary in place` for each that stands somewhere."""
    return [
        f"{name} in {place}"
        for place, content in texts.items()
        for name, value in CANARIES.items()
        if any(form in content for form in forms(value))
    ]


def test_there_are_twenty_and_each_is_hidden_wherever_it_is_quoted(monkeypatch):
    """The quick part: one text with the whole environment, and URIs of five kinds."""
    assert len(CANARIES) == 20 and callable(getattr(cell_job, SPILLS))
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    text = " ".join(f"{name}={value!r}" for name, value in environment().items())
    for scheme in ("s3", "gs", "http", "https", "abfss"):
        text += f" {scheme}://{CANARIES['--storage key']}:{quote(CANARIES['--storage'], safe='')}@bucket/x?a=1"
    text += f" http://me:{CANARIES['--mlflow']}@host:5000 Authorization: Bearer {CANARIES['HF_TOKEN']}"
    assert leaks({"the text": text.encode()}) and not leaks({"the text": without_secrets(text).encode()})


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    yield f"127.0.0.1:{int(process.stdout.readline())}"
    process.kill()
    process.wait()
    process.stdout.close()


class Commands:
    """Runs commands with the canaries planted, and keeps what they print."""

    def __init__(self, folder: Path, uri: str, mlflow: str):
        (folder / "sitecustomize.py").write_text(SPILL)
        self.said: dict[str, bytes] = {}
        self.environment = ENVIRONMENT | environment()
        self.environment |= {
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "SPILLS": SPILLS,
            "QUOTED": f"{uri} {mlflow} https://me:{CANARIES['--mlflow']}@host/x?sig={CANARIES['HF_TOKEN']}",
            "RADSWEEP_CACHE": str(folder / "cache"),
            "RADSWEEP_RETRY_SECONDS": "2",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
            "RAY_TMPDIR": str(folder / "r"),
        }
        (folder / "r").mkdir()

    def __call__(self, code: int, module: str, *arguments: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT, env=self.environment | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=850,
        )  # fmt: skip
        self.said[f"{module} {len(self.said)}"] = done.stdout
        assert done.returncode == code, (module, done.returncode, done.stdout.decode()[-3000:])
        return done.stdout.decode()


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_study_and_every_command_about_it_show_none(server, tmp_path_factory, tmp_path):
    urllib.request.urlopen(urllib.request.Request(f"http://{server}/bucket", method="PUT"), timeout=30)
    keys = f"{CANARIES['--storage key']}:{quote(CANARIES['--storage'], safe='')}"
    uri = f"s3://{keys}@bucket/radsweep?endpoint_override={server}&scheme=http&region=us-east-1"
    mlflow = f"http://me:{CANARIES['--mlflow']}@127.0.0.1:9"
    folder = tmp_path_factory.mktemp("c")  # short: the name of a socket of Ray's has at most 107 characters
    run = Commands(folder, uri, mlflow)
    of_study = ("--study", STUDY, "--storage", uri)
    run(0, "sweep.run", *of_study, "--dry-run")
    said = run(3, "sweep.run", *of_study, "--mlflow", mlflow)
    assert "failed" in said and "s3://***@bucket" in said
    run(0, "sweep.report", *of_study, "--to", str(tmp_path / "report"))
    run(0, "sweep.status", *of_study)
    run(0, "sweep.status", *of_study, "--json")
    run(0, "sweep.status", "--storage", uri)
    run(0, "sweep.list", "methods")
    run(0, "sweep.doctor", *of_study)
    run(0, "sweep.export", "imagenet", *of_study, "--to", str(tmp_path / "encoder"))
    run(2, "sweep.run", "--study", STUDY, "--storage", uri.replace("?", "?no_such_option=1&"))
    run(3, "sweep.run", "--study", STUDY, "--storage", uri.replace(server, "127.0.0.1:9"))
    crashed = run(1, "sweep.status", *of_study, SPILL="sweep.status")
    assert "Traceback" in crashed and "no answer" in crashed, "a fault of the program keeps its traceback"
    files = Files(uri)
    stored = {path: files.read(path) for path in files.list("")}
    failures = [content for path, content in stored.items() if path.endswith("/failed.json")]
    assert failures and all(b"no answer" in content and b"***" in content for content in failures)
    local = {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert len(stored) > 50 and any(path.endswith("report.html") for path in local)
    logs = {str(p): p.read_bytes() for p in folder.glob("r/ray/session_2*/logs/**/*") if p.is_file()}
    assert logs
    given = {name: CANARIES[name] for name in ("--storage", "--storage key", "--mlflow")}
    logged = [line for line in leaks(logs) if not line.startswith(tuple(given))]
    assert leaks(run.said) == [] and leaks(stored) == [] and leaks(local) == [] and logged == []
