"""Which errors of a storage may pass by themselves, and how long is a call repeated for their sake?"""

import errno
import os
import re
from collections.abc import Callable
from typing import TypeVar

try:
    import stamina  # not where it is needed: the storage that has its files may be the one that is unreachable
except ImportError:  # a copy of the tree for `pytest -m gpu` and benchmarks.gpu: there nothing is repeated
    stamina = None  # type: ignore[assignment]  # of a module

RETRY_SECONDS = float(os.environ.get("RADSWEEP_RETRY_SECONDS", "120"))
# Errors of a storage that is unreachable for a moment. A full disk, missing rights or files do not pass by waiting.
PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EINTR,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ENOTCONN,  # a FUSE mount whose process has ended
    errno.ESHUTDOWN,
    errno.EREMOTEIO,
}
# pyarrow gives no errno for object stores: the words of its messages, and of the AWS and Google libraries within.
REMOTE_PASSING = (
    "timeout",
    "timed out",
    "network",
    "connection",
    "slow_down",
    "slowdown",
    "throttl",
    "unavailable",
    "internal_failure",
    "internalerror",
    "curlcode",
)
REMOTE_STATUS = re.compile(r"http status (429|5\d\d)")  # all that there is of the answer to a HEAD
T = TypeVar("T")


def is_passing(error: Exception) -> bool:
    """Whether an error of the storage may go away by itself, so that it is worth to wait and call again."""
    if not isinstance(error, OSError) or isinstance(error, (FileNotFoundError, FileExistsError)):
        return False
    if error.errno is not None:
        return error.errno in PASSING
    text = str(error).lower()
    return any(word in text for word in REMOTE_PASSING) or REMOTE_STATUS.search(text) is not None


def patiently(call: Callable[[], T]) -> T:
    """The call's value; repeated for up to RETRY_SECONDS while the storage is unreachable, then its error is raised.

    The waits grow from 0.1 s to 5 s, with jitter, so that the workers of a cluster do not come back all at once.
    """
    try:
        return call()  # outside of stamina, which takes longer to begin than a file to be read
    except Exception as error:
        if stamina is None or not is_passing(error):
            raise
        failed: Exception | None = error
    # stamina warns of a timeout of 0; a nanosecond means the same, one attempt.
    for attempt in stamina.retry_context(
        on=is_passing, attempts=None, timeout=RETRY_SECONDS or 1e-9, wait_initial=0.1, wait_max=5.0
    ):
        with attempt:
            if failed is not None:
                first, failed = failed, None
                raise first
            return call()
    raise AssertionError("unreachable")
