"""Which trials of a search were begun, how far they came, how they ended: one JSON file a trial, in the storage."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets_io.fingerprint import canonical_json
from datasets_io.storage.stored_result import Share, first_problem
from datasets_io.untrusted import printable, printable_lines
from sweep.store.report_folder import ReportFolder
from sweep.store.store import ENCODERS, Store


class TrialState(StrEnum):
    """How far a trial is. The words are those of its file and of trials.csv."""

    BEGUN = "begun"
    """It is running, or a stop cut it off: a search that goes on takes it up first."""

    DONE = "done"
    """It came to its last epoch, and its published encoder was evaluated."""

    PRUNED = "pruned"
    """ASHA ended it at a rung."""

    FAILED = "failed"
    """It raised an error, or its process died each time."""


@dataclass(frozen=True)
class Trial:
    """One trial: an encoder pretrained with some values. AUROCs are macro AUROCs on held-out patients, in [0, 1].

    number: from 0, in the order in which trials were begun. values: name -> the value that is tried. rungs: (epoch,
    AUROC) in order; value: AUROC of the published encoder, where it is done. error: one line, where it failed.
    folder: the encoder's, relative to the storage, so that what a search computed serves the tuned study too.
    """

    number: int
    values: dict[str, float]
    folder: str
    state: TrialState = TrialState.BEGUN
    rungs: tuple[tuple[int, float], ...] = ()
    value: float | None = None
    error: str | None = None

    @property
    def id(self) -> str:
        """See `trial_id`."""
        return trial_id(self.values)

    @property
    def last(self) -> float | None:
        """The latest AUROC; None before the first rung."""
        return self.value if self.value is not None else (self.rungs[-1][1] if self.rungs else None)

    @property
    def final(self) -> float:
        """AUROC of the published encoder of a trial that is done."""
        assert self.value is not None, f"trial {self.number} is {self.state} and has no value"
        return self.value


def trial_id(values: Mapping[str, float]) -> str:
    """12 hexadecimal digits of the values' SHA-256: the same values are the same trial, whoever proposes them."""
    return hashlib.sha256(canonical_json(dict(values)).encode()).hexdigest()[:12]


class TrialStore:
    """The trials of one search. Only the driver writes; what it has written it finds again after any stop."""

    def __init__(self, store: Store, study: str, search: str, names: Collection[str] | None = None) -> None:
        """Read the trials that are there. study, search: names, which give the folder reports/<study>/<search>.

        names: of the values that are searched; None for any. Raises ValueError that names a trial's file which is
        damaged, or has other values.
        """
        self.store, self.study, self.search = store, study, search
        self.trials: dict[str, Trial] = {}
        for path in store.files.list(self.path("trials"), ".json"):
            trial = _read(store.files.read(path), path, names)
            self.trials[trial.id] = trial

    def of(self, values: Mapping[str, float]) -> Trial | None:
        """The trial with these values, None where none was begun."""
        return self.trials.get(trial_id(values))

    def recorded(self, values: Mapping[str, float]) -> Trial:
        """The trial with these values, which `begin` has recorded. Raises KeyError for another."""
        return self.trials[trial_id(values)]

    def in_order(self) -> list[Trial]:
        """All trials, in the order in which they were begun."""
        return sorted(self.trials.values(), key=lambda trial: trial.number)

    def begin(self, values: dict[str, float], folder: str) -> Trial:
        """Record that a trial was started, or started again, which keeps its number and rungs."""
        known = self.of(values)
        new = replace(known, state=TrialState.BEGUN) if known else Trial(len(self.trials), dict(values), folder)
        return self._save(new)

    def rung(self, values: Mapping[str, float], epoch: int, auroc: float) -> Trial:
        """Record the AUROC after an epoch, in place of an earlier attempt's."""
        trial = self.recorded(values)
        # A trial that is begun again may reach a rung twice: the later AUROC is of what is now trained.
        rungs = tuple(rung for rung in trial.rungs if rung[0] != epoch)
        return self._save(replace(trial, rungs=tuple(sorted((*rungs, (epoch, auroc))))))

    def end(
        self, values: Mapping[str, float], state: TrialState, value: float | None = None, error: str | None = None
    ) -> Trial:
        """Record how a trial ended. value: for one that is done; error: for one that failed."""
        return self._save(replace(self.recorded(values), state=state, value=value, error=error))

    def ended(self) -> list[Trial]:
        """Those that are done, pruned or failed, in order."""
        return [trial for trial in self.in_order() if trial.state != TrialState.BEGUN]

    def best(self) -> Trial | None:
        """Of the trials that came to their end: a pruned one's AUROC is that of an unfinished encoder."""
        done = (trial for trial in self.in_order() if trial.state == TrialState.DONE)
        return max(done, key=lambda trial: trial.final, default=None)

    def path(self, name: str) -> str:
        """Where a file of the search lies, relative to the storage."""
        return self.store.report_path(self.study, f"{self.search}/{name}")

    def write_together(self, contents: Mapping[str, str | bytes]) -> list[str]:
        """Write files of the search that belong together, all or none; where they lie."""
        return list(ReportFolder.of_study(self.store, f"{self.study}/{self.search}").write(contents).values())

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file of the search; where it lies."""
        self.store.files.write(self.path(name), content.encode() if isinstance(content, str) else content)
        return self.store.files.full(self.path(name))

    def _save(self, trial: Trial) -> Trial:
        self.trials[trial.id] = trial
        # One file a trial, replaced as a whole: a stop between two writes leaves every trial readable.
        text = json.dumps(asdict(trial), indent=1, sort_keys=True)
        self.write(f"trials/{trial.id}.json", text)
        return trial


class _Stored(BaseModel):
    """A trial's file; fields that a later version adds are passed over."""

    model_config = ConfigDict(extra="ignore")
    number: Annotated[int, Field(ge=0, strict=True)]
    values: dict[str, int | Annotated[float, Field(allow_inf_nan=False)]]
    folder: Annotated[str, Field(strict=True, pattern=rf"^{ENCODERS}/[^./\\\x00-\x1f][^/\\\x00-\x1f]*$")]
    state: TrialState
    rungs: tuple[tuple[Annotated[int, Field(ge=0)], Share], ...]
    value: Share | None
    error: str | None


def _read(data: bytes, path: str, names: Collection[str] | None) -> Trial:
    try:
        stored = _Stored.model_validate(json.loads(data))
        if stored.state == TrialState.DONE and stored.value is None:
            raise ValueError("it is done and has no value")
        if names is not None and set(stored.values) != set(names):
            raise ValueError(f"it has values of {', '.join(stored.values) or 'nothing'}, not of {', '.join(names)}")
        shown = {"folder": printable(stored.folder), "error": stored.error and printable_lines(stored.error)}
        trial = Trial(**{**dict(stored), **shown})
        if f"{trial.id}.json" != path.rpartition("/")[2]:
            raise ValueError("its values are those of another trial")
        return trial
    except (ValueError, RecursionError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise ValueError(f"{path} is damaged ({why}): move it away, and its trial is begun anew") from error
