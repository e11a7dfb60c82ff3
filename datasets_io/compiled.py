"""How is a hot loop compiled for the processor? By numba: once at its first call, and kept for other processes."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compiled by numba in nopython mode, without the interpreter's lock while it runs.

    The machine code is kept beside the function's file or in the user's cache folder, for each kind of processor.
    Raises numba.core.errors.TypingError at the first call for argument types that it cannot compile.
    """
    try:
        # A cast, since numba's object has a type of its own; it is called as the function is.
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    # numba looks for a folder that it can write when it decorates, not at the first call.
    except RuntimeError:  # neither the folder of this file nor the user's cache can be written
        return cast(F, numba.njit(nogil=True)(function))
