"""What does an item cost, by its kind, and why can some not be priced? Pure; of an outlook."""

from collections.abc import Callable, Sequence
from typing import Any

from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import Counts, Forecast, forecast
from trainables.recipe import PretrainRecipe


class Priced:
    """Costs of items, each kind computed once. What cannot be priced is None, and `missing` has a sentence why."""

    def __init__(self, counts: Counts):
        self.counts = counts
        self.missing: dict[str, None] = {}  # as an ordered set
        self.kinds: dict[tuple[object, ...], Any] = {}

    def encoder(self, run: EncoderRun) -> Forecast | None:
        """Of one encoder; initial weights cost nothing that is counted here."""
        if not isinstance(run.recipe, PretrainRecipe):
            return Forecast()
        kind = ("encoder", run.recipe, run.corpus)
        return self._cost(kind, str(run.corpus), run.row, lambda: forecast((run,), (), self.counts))

    def cells(self, group: Sequence[Cell]) -> Forecast | None:
        """Of the cells that one job computes."""
        first = group[0]
        of = (first.encoder.backbone_key, first.shards, first.protocol, first.label_percent, first.recipe.key)
        return self._cost((*of, len(group)), first.shards, first.encoder.row, lambda: forecast((), group, self.counts))

    def bytes(self, kind: tuple[object, ...], row: str, count: Callable[[], int]) -> int:
        """`count()` of a row's network; 0 where it cannot be built."""
        made = self._try(kind, row, count)
        return 0 if made is None else int(made)

    def _cost(self, kind: tuple[object, ...], data: str, row: str, make: Callable[[], Forecast]) -> Forecast | None:
        if data not in self.counts:
            name = data.partition(" (")[0]
            self.missing[
                f"{data}: nothing was published of its size, and its folder was not given (--raw {name}=DIR; "
                f"sweep.plan takes counts={{'{name}': {{'train': ...}}}}): what reads it is counted as a job, and is "
                "in no sum"
            ] = None
            return None
        made: Forecast | None = self._try(kind, row, make)
        return made

    def _try(self, kind: tuple[object, ...], row: str, make: Callable[[], Any]) -> Any:
        if kind not in self.kinds:
            try:
                self.kinds[kind] = make()
            except Exception as error:  # whatever a library says to a specification that it does not know
                self.kinds[kind] = None
                said = " ".join(str(error).split())
                self.missing[f"row {row} is in no sum: its network cannot be built ({said})"] = None
        return self.kinds[kind]
