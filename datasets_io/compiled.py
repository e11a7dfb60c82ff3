"""How is a hot loop compiled for the processor? By numba: once at its first call, and kept for other processes."""

from collections.abc import Callable

import numba


def compiled(function: Callable) -> Callable:
    """Free of the interpreter's lock. Kept beside its file, per kind of processor, or where the user's caches are."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the folder of this file nor the user's cache can be written
        return numba.njit(nogil=True)(function)
