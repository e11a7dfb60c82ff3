"""How is an object made on S3 only where none of its name is there, of two writers in one moment by one of them?

S3 and most servers like it have PUT with `If-None-Match: *`; pyarrow's file system has no such call. boto3, which is
optional (`pip install radsweep[s3]`), makes that one request; all others go through pyarrow.
"""

import importlib.util
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

EXISTS, MEANWHILE = "PreconditionFailed", "ConditionalRequestConflict"
NOT_KNOWN = ("NotImplemented", "InvalidArgument", "InvalidRequest")  # a server without conditional writes
ANSWER_SECONDS = 10.0  # for objects of some kilobytes; boto3's own is a minute
PASSING_STATUS = (429, 500, 502, 503, 504)


class PassingError(OSError):
    """The server could not answer now; the same request may succeed later."""


class CreateOnce:
    """PUT of an object that must not be there, below one s3:// URI."""

    def __init__(self, uri: str):
        import boto3  # only those who asked for it have it
        from botocore.config import Config

        parts = urlsplit(uri)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        endpoint = options.get("endpoint_override")
        self.bucket = parts.netloc.rpartition("@")[2]
        self.client: Any = boto3.client(
            "s3",
            aws_access_key_id=unquote(parts.username) if parts.username else None,
            aws_secret_access_key=unquote(parts.password) if parts.password else None,
            region_name=options.get("region"),
            endpoint_url=f"{options.get('scheme', 'https')}://{endpoint}" if endpoint else None,
            # `patiently` repeats. An answer that got lost is not waited for so long that no time is left for that.
            config=Config(
                retries={"total_max_attempts": 1}, connect_timeout=ANSWER_SECONDS, read_timeout=ANSWER_SECONDS
            ),
        )

    def __call__(self, key: str, data: bytes) -> bool | None:
        """True: made; False: one was there; None: this server has no such request.

        Raises PassingError, and OSError for what does not pass.
        """
        from botocore.exceptions import BotoCoreError, ClientError

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
            raise PassingError(f"no connection to S3 ({type(error).__name__})") from error
        return True


def create_once(uri: str) -> CreateOnce | None:
    """For a storage on S3 where boto3 is installed; None elsewhere, where a look before the write must do."""
    return CreateOnce(uri) if uri.startswith("s3://") and importlib.util.find_spec("boto3") else None


def _status(response: Any) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
