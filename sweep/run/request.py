"""What has the user asked of sweep.run? Its flags as they were typed, in one object that the command hands on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """The flags of sweep.run; nothing of them is checked yet.

    study: a name or a Python file. raw: SOURCE=DIR for each archive. only: FIELD=VALUE,... for each restriction.
    skip_unfit: go on without rows that do not fit. redo: the key of the one cell to compute again.
    tensorboard: a folder; mlflow: the URI of a server. machines: that a dry run prices; as_json: how it prints.
    started: `time.monotonic()`, in seconds, when the command began.
    """

    study: str
    storage: str
    raw: tuple[str, ...]
    only: tuple[str, ...]
    dry_run: bool
    retry_failed: bool
    skip_unfit: bool
    redo: str | None
    tensorboard: str | None
    mlflow: str | None
    started: float
    machines: tuple[str, ...] = ()
    as_json: bool = False

    @property
    def of_one_run(self) -> tuple[str, ...]:
        """The flags that were given and say what one run does, or how it is shown."""
        given = {
            "--only": self.only,
            "--dry-run": self.dry_run,
            "--machines": self.machines,
            "--json": self.as_json,
            "--retry-failed": self.retry_failed,
            "--skip-unfit": self.skip_unfit,
            "--redo": self.redo is not None,
            "--tensorboard": self.tensorboard is not None,
            "--mlflow": self.mlflow is not None,
        }
        return tuple(flag for flag, value in given.items() if value)
