"""How much time has work taken, by a clock and of processors?"""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """seconds: by a clock. core_seconds: of all threads of this process, which work beside it does not lengthen."""

    seconds: float
    core_seconds: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.core_seconds + other.core_seconds)

    @classmethod
    def so_far(cls) -> "Spent":
        """A beginning, to be given to `since`."""
        return cls(time.monotonic(), time.process_time())

    @classmethod
    def since(cls, start: "Spent", parts: int = 1) -> "Spent":
        """From a beginning of this process until now, divided among so many that share it."""
        now = cls.so_far()
        return cls((now.seconds - start.seconds) / parts, (now.core_seconds - start.core_seconds) / parts)
