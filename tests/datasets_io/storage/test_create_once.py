"""Which servers does the client that makes an object once ask, and what does it leave to the other client?"""

import datetime
import io
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest
from botocore.exceptions import NoCredentialsError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from datasets_io.storage.create_once import PassingError, S3Objects
from datasets_io.storage.files import Files


def unpacked(stream: BinaryIO) -> bytes:
    """What was sent in pieces, each behind its length."""
    found = b""
    while length := int(stream.readline(), 16):
        found += stream.read(length)
        stream.readline()
    while stream.readline().strip():
        pass
    return found


class Bucket(BaseHTTPRequestHandler):
    """GET, and PUT of what is not there."""

    protocol_version = "HTTP/1.1"
    kept: dict[str, bytes]

    def do_PUT(self):
        data = unpacked(io.BytesIO(unpacked(self.rfile)))  # as boto3 sends it by TLS: AWS's pieces in HTTP's
        if self.headers["If-None-Match"] == "*" and self.path in self.kept:
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.kept[self.path] = data
        self.answer(200, b"")

    def do_GET(self):
        found = self.kept.get(self.path)
        self.answer(404 if found is None else 200, b"<Error><Code>NoSuchKey</Code></Error>" if found is None else found)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def write_certificate(folder: Path) -> None:
    """cert.pem, of an authority that no machine knows, and key.pem."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a lab's own")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(*form))


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """The URI of a bucket behind TLS, and the file of its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Kept", (Bucket,), {"kept": {}}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"scheme=https&region=us-east-1&endpoint_override=127.0.0.1:{server.server_address[1]}"
    yield f"s3://key:secret-word@bucket/root?{address}", folder / "cert.pem"
    server.shutdown()
    server.server_close()


def test_a_storage_behind_a_certificate_of_ones_own_keeps_the_first_write(private):
    uri, certificate = private
    files = Files(f"{uri}&tls_ca_file_path={certificate}")
    assert files.write_once("a", b"first") is True and files.write_once("a", b"second") is False
    assert files.read("a") == b"first"


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("word", ["false", "False", "0"])
def test_a_certificate_that_is_not_to_be_verified_is_not(private, word):
    objects = S3Objects(f"{private[0]}&tls_verify_certificates={word}")
    assert objects.create(f"root/{word}", b"first") is True and objects.create(f"root/{word}", b"second") is False
    assert objects.read(f"root/{word}") == b"first"


@pytest.mark.parametrize("more", ["", "&tls_verify_certificates=true", "&tls_ca_dir_path=/nowhere"])
def test_what_it_does_not_trust_or_know_is_left_to_the_other_client(private, more):
    """pyarrow has the machine's own certificates, and may trust what boto3 does not."""
    objects = S3Objects(f"{private[0]}{more}")
    assert objects.create("root/b", b"1") is None and objects.read("root/b") is None and objects.listed("root") is None


def test_without_credentials_it_makes_nothing_and_a_server_that_is_away_is_waited_for(private, monkeypatch):
    uri, certificate = private
    objects = S3Objects(f"{uri}&tls_ca_file_path={certificate}")

    def no_credentials(**_):
        raise NoCredentialsError

    monkeypatch.setattr(objects.client, "put_object", no_credentials)
    assert objects.create("root/c", b"1") is None
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as nobody:
        port = nobody.server_address[1]
    away = S3Objects(f"s3://key:secret-word@bucket/root?scheme=https&region=x&endpoint_override=127.0.0.1:{port}")
    for call in (lambda: away.create("root/c", b"1"), lambda: away.read("root/c")):
        with pytest.raises(PassingError, match="no connection to S3"):
            call()


def test_an_answer_that_is_no_tls_is_waited_for():
    """Half an answer of a proxy, or a connection that ends in the middle: no certificate was refused."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    try:
        objects = S3Objects(
            f"s3://key:secret-word@bucket/root?scheme=https&region=x&endpoint_override=127.0.0.1:{port}"
        )
        with pytest.raises(PassingError, match="no connection to S3"):
            objects.create("root/d", b"1")
    finally:
        server.shutdown()
        server.server_close()
