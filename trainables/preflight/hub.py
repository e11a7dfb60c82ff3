"""Can the hub be reached from which weights are had by name? Its library tries for half a minute, file by file."""

import errno
import os
import socket
from collections.abc import Sequence
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from trainables.networks.text import HuggingFaceText
from trainables.preflight.verdict import PreflightCheck
from trainables.recipe import EncoderSource, ImageNetInit

OFFLINE, ENDPOINT = "HF_HUB_OFFLINE", "HF_ENDPOINT"  # of huggingface_hub, read when it is imported
HUB = "https://huggingface.co"
SECONDS = 10.0
_AWAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


def work_offline_if_out_of_reach(checks: Sequence[PreflightCheck]) -> None:
    """Let this process take from the hub's cache alone, where a check asks for a name and nobody answers.

    Before huggingface_hub is imported. What is not in the cache is then refused in the same words, at once.
    """
    if OFFLINE not in os.environ and any(asks_hub(check) for check in checks) and is_out_of_reach():
        os.environ[OFFLINE] = "1"


def asks_hub(check: PreflightCheck) -> bool:
    """Whether weights or a text encoder are had by their name."""
    text = getattr(check.recipe, "text", None)
    return is_by_name(check.recipe) or (isinstance(text, HuggingFaceText) and text.path is None)


def is_by_name(recipe: object) -> bool:
    """Whether a recipe's weights are fetched by their name, and read from no file."""
    return (isinstance(recipe, EncoderSource) and recipe.path is None) or (
        isinstance(recipe, ImageNetInit) and recipe.weights_file is None
    )


def is_out_of_reach(seconds: float = SECONDS) -> bool:
    """Whether there is no network, no such host or no answer; False for any answer, and for other troubles."""
    try:
        urlopen(Request(os.environ.get(ENDPOINT) or HUB, method="HEAD"), timeout=seconds).close()
    except HTTPError:
        return False
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        # Not of certificates: the library may know others.
        return isinstance(why, socket.gaierror | ConnectionError | TimeoutError) or getattr(why, "errno", 0) in _AWAY
    return False
