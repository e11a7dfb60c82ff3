"""What users need not see: chatter of libraries, and tracebacks of troubles that are not of this software."""

import errno
import logging
import os
import warnings


def quiet_libraries() -> None:
    """Keep warnings of libraries that a user can do nothing about off the screen; workers' logs keep them."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("ray", "ray.data", "ray.tune", "ray.train", "timm", "transformers", "pydicom"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def storage_trouble(error: OSError, storage: str) -> str | None:
    """A sentence where the storage is full, read-only, forbidden or away; None for any other error."""
    known = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
    if error.errno not in known:
        return None
    return f"{os.strerror(error.errno)}: {error.filename or storage}. What is finished is kept"


class ClusterLost(RuntimeError):
    """The cluster went away under the driver. What is finished is kept."""
