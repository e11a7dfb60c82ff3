"""How is an object made on S3 only where none of its name is there, of two writers in one moment by one of them?

S3 and most servers like it have PUT with `If-None-Match: *`; pyarrow's file system has no such call. boto3, which is
optional (`pip install radsweep[s3]`), makes that request. It also reads with one request, where pyarrow asks for the
size before, and lists ETags, which pyarrow leaves out; all others go through pyarrow.
"""

import errno
import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

EXISTS, MEANWHILE = "PreconditionFailed", "ConditionalRequestConflict"
NOT_KNOWN = ("NotImplemented", "InvalidArgument", "InvalidRequest")  # a server without conditional writes
ANSWER_SECONDS = 10.0  # for objects of some kilobytes; boto3's own is a minute
PASSING_STATUS = (429, 500, 502, 503, 504)
MOST_AT_ONCE = 32  # requests of one process; more wait for one to end
# Options of a URI that a client here knows, or that make no difference to reading.
KNOWN_OPTIONS = {
    *("region", "scheme", "endpoint_override", "tls_ca_file_path", "tls_verify_certificates"),
    *("allow_delayed_open", "allow_bucket_creation", "allow_bucket_deletion", "smart_defaults"),
}


class PassingError(OSError):
    """The server could not answer now; the same request may succeed later."""


class Listed(NamedTuple):
    """An object as it is listed. etag: the MD5 of its bytes where it went up with one request, without own keys."""

    size: int
    etag: str


class S3Objects:
    """GET and listings of objects, and PUT of one that must not be there, below one s3:// URI."""

    def __init__(self, uri: str):
        import boto3  # only those who asked for it have it
        from botocore.config import Config

        parts = urlsplit(uri)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        endpoint = options.get("endpoint_override")
        self.asks = options.keys() <= KNOWN_OPTIONS
        self.bucket = parts.netloc.rpartition("@")[2]
        self.client: Any = boto3.client(
            "s3",
            aws_access_key_id=unquote(parts.username) if parts.username else None,
            aws_secret_access_key=unquote(parts.password) if parts.password else None,
            region_name=options.get("region"),
            endpoint_url=f"{options.get('scheme', 'https')}://{endpoint}" if endpoint else None,
            verify=_verified_by(options),
            # `patiently` repeats. An answer that got lost is not waited for so long that no time is left for that.
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=ANSWER_SECONDS,
                read_timeout=ANSWER_SECONDS,
                max_pool_connections=MOST_AT_ONCE,
            ),
        )

    def read(self, key: str) -> bytes | None:
        """All bytes of an object. None where this client cannot ask: see `_cannot_ask`, and KNOWN_OPTIONS.

        Raises FileNotFoundError, PassingError, and OSError for what does not pass.
        """
        if not self.asks:
            return None
        get = self.client.get_object
        found = self._asked("a read", key, lambda: get(Bucket=self.bucket, Key=key)["Body"].read())
        return None if found is None else bytes(found)

    def listed(self, prefix: str) -> dict[str, Listed] | None:
        """Key -> size and ETag of every object below a prefix, a thousand a request. None and errors as of `read`."""
        if not self.asks:
            return None
        found: dict[str, Listed] = {}
        more: dict[str, str] = {}
        while True:
            ask = partial(self.client.list_objects_v2, Bucket=self.bucket, Prefix=prefix, **more)
            page = self._asked("a listing", prefix, ask)
            if page is None:
                return None
            found |= {one["Key"]: Listed(one["Size"], one["ETag"].strip('"')) for one in page.get("Contents", ())}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _asked(self, what: str, key: str, ask: Callable[[], Any]) -> Any:
        """What is answered. None and errors as of `read`."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ask()
        except ClientError as error:
            code, status = error.response["Error"].get("Code", ""), _status(error.response)
            if status == 404:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.bucket}/{key}") from error
            if status in PASSING_STATUS:
                raise PassingError(f"S3 answers {status} ({code}) to {what}: connection to be tried again") from error
            raise OSError(f"S3 answers {status} ({code}) to {what} of {key} in bucket {self.bucket}") from error
        except BotoCoreError as error:
            if _cannot_ask(error):
                return None
            raise PassingError(f"no connection to S3 ({type(error).__name__})") from error

    def create(self, key: str, data: bytes) -> bool | None:
        """True: made; False: one was there; None: this server has no such request, or this client cannot ask.

        Raises PassingError, and OSError for what does not pass.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if not self.asks:
            return None
        try:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            code, status = error.response["Error"].get("Code", ""), _status(error.response)
            if code == EXISTS or status == 412:
                return False
            if code in NOT_KNOWN or status == 501:
                return None
            if code == MEANWHILE or status in PASSING_STATUS:  # another writer of it is not done, or the server is away
                raise PassingError(f"S3 answers {status} ({code}) to a write: connection to be tried again") from error
            raise OSError(f"S3 answers {status} ({code}) to a write of {key} in bucket {self.bucket}") from error
        except BotoCoreError as error:
            if _cannot_ask(error):
                return None
            raise PassingError(f"no connection to S3 ({type(error).__name__})") from error
        return True


def s3_objects(uri: str) -> S3Objects | None:
    """For a storage on S3 where boto3 is installed; None elsewhere, where a look before the write must do."""
    return _client(uri, os.getpid()) if uri.startswith("s3://") and importlib.util.find_spec("boto3") else None


@lru_cache(maxsize=4)
def _client(uri: str, pid: int) -> S3Objects:
    """Made once: a client takes a tenth of a second. pid: a process that was forked has connections of its own."""
    return S3Objects(uri)


def _verified_by(options: Mapping[str, str]) -> bool | str | None:
    """As boto3 takes it: a file of certificates; False: a server needs none that is known; None: its own ones."""
    if options.get("tls_verify_certificates", "true").lower() in ("false", "0"):  # as pyarrow reads it
        return False
    return options.get("tls_ca_file_path") or None


def _cannot_ask(error: Exception) -> bool:
    """Whether only this client cannot make a request: pyarrow has ways of its own to credentials and certificates.

    It does not trust certificates that were added to those of the machine, for one. No other request helps it.
    """
    from botocore.exceptions import ConnectionError as NotConnected
    from botocore.exceptions import HTTPClientError, IncompleteReadError, SSLError

    if isinstance(error, SSLError):
        return "CERTIFICATE_VERIFY_FAILED" in str(error)
    return not isinstance(error, (NotConnected, HTTPClientError, IncompleteReadError))


def _status(response: Any) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
