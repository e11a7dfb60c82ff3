"""Which trials of a search were begun, how far they came, how they ended: one JSON file a trial, in the storage."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from datasets_io.fingerprint import canonical_json
from sweep.store.store import Store

BEGUN, DONE, PRUNED, FAILED = "begun", "done", "pruned", "failed"


@dataclass(frozen=True)
class Trial:
    """rungs: (epoch, validation AUROC) in order; value: of the published encoder, where it is done.

    `folder` is the encoder's, so that what a search computed serves the tuned study too.
    """

    number: int
    values: dict[str, float]
    folder: str
    state: str = BEGUN
    rungs: tuple[tuple[int, float], ...] = ()
    value: float | None = None
    error: str | None = None

    @property
    def id(self) -> str:
        return trial_id(self.values)

    @property
    def last(self) -> float | None:
        """The last AUROC that was seen."""
        return self.value if self.value is not None else (self.rungs[-1][1] if self.rungs else None)


def trial_id(values: Mapping[str, float]) -> str:
    return hashlib.sha256(canonical_json(dict(values)).encode()).hexdigest()[:12]


class TrialStore:
    """The trials of one search. Only the driver writes; what it has written it finds again after any stop."""

    def __init__(self, store: Store, study: str, search: str):
        self.store, self.study, self.search = store, study, search
        self.trials: dict[str, Trial] = {}
        for path in store.files.list(self.path("trials")):
            trial = _from_json(json.loads(store.files.read(path)))
            self.trials[trial.id] = trial

    def of(self, values: Mapping[str, float]) -> Trial | None:
        return self.trials.get(trial_id(values))

    def in_order(self) -> list[Trial]:
        return sorted(self.trials.values(), key=lambda trial: trial.number)

    def begin(self, values: dict[str, float], folder: str) -> Trial:
        known = self.of(values)
        return self._keep(replace(known, state=BEGUN) if known else Trial(len(self.trials), dict(values), folder))

    def rung(self, values: Mapping[str, float], epoch: int, auroc: float) -> Trial:
        trial = self.trials[trial_id(values)]
        rungs = tuple(rung for rung in trial.rungs if rung[0] != epoch)
        return self._keep(replace(trial, rungs=tuple(sorted((*rungs, (epoch, auroc))))))

    def end(
        self, values: Mapping[str, float], state: str, value: float | None = None, error: str | None = None
    ) -> Trial:
        return self._keep(replace(self.trials[trial_id(values)], state=state, value=value, error=error))

    def ended(self) -> list[Trial]:
        return [trial for trial in self.in_order() if trial.state != BEGUN]

    def best(self) -> Trial | None:
        """Of the trials that came to their end: a pruned one's AUROC is that of an unfinished encoder."""
        return max((t for t in self.in_order() if t.state == DONE), key=lambda trial: trial.value, default=None)

    def path(self, name: str) -> str:
        """Where a file of the search lies, relative to the storage."""
        return self.store.report_path(self.study, f"{self.search}/{name}")

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file of the search; where it lies."""
        self.store.files.write(self.path(name), content.encode() if isinstance(content, str) else content)
        return self.store.files.full(self.path(name))

    def _keep(self, trial: Trial) -> Trial:
        self.trials[trial.id] = trial
        text = json.dumps(asdict(trial), indent=1, sort_keys=True)
        self.write(f"trials/{trial.id}.json", text)
        return trial


def _from_json(content: dict[str, Any]) -> Trial:
    return Trial(**{**content, "rungs": tuple((epoch, auroc) for epoch, auroc in content["rungs"])})
