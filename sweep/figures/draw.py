"""Which figures does a study have, and drawn from what: name -> Drawing, here or in processes of their own."""

import hashlib
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

from datasets_io.fingerprint import canonical_json
from datasets_io.granted import cores
from datasets_io.schema import ArchiveError
from datasets_io.sources.parts.nih_boxes import Box, read_boxes
from sweep.figures import (
    curves,
    drawing,
    feature_maps,
    forest,
    grad_cam_panels,
    heat_map,
    pointing_game,
    pretraining_curves,
    ranks,
    training_free_panels,
)
from sweep.figures.drawing import CannotDraw, Drawing, not_drawn
from sweep.figures.models import cells_of_networks
from sweep.figures.view import View, make_view
from sweep.statistics import analysis
from sweep.store.records import CellResult
from sweep.store.store import ReadStore
from sweep.studies.plan import Plan
from sweep.studies.study import Dataset, Study

# Figures of tests over patients: they need the statistics that are made from predictions.
OF_PREDICTIONS = frozenset({forest.NAME})
BOXED = "nih_cxr14"  # the source whose archive has boxes drawn by radiologists
# Results from which on processes are worth their start, some seconds of imports: the demo's 650 take a core a minute.
PROCESSES_PAY = 300


def draw_all(
    study: Study,
    plan: Plan,
    results: Sequence[CellResult],
    store: ReadStore,
    data_folders: Mapping[str, str] | None = None,
    raw: Mapping[str, Path] | None = None,
) -> dict[str, Drawing]:
    """Every figure, in the order of a report. Never raises: a figure that cannot be drawn says why in `missing`.

    data_folders: label of a build -> folder of its shards in the storage. raw: name of a use of a source -> raw
    archive, where it is known: NIH's boxes are read from it.
    """
    return draw_here(make_view(study, plan, results, store, data_folders, raw))


def draw_here(view: View, kept: Mapping[str, Drawing] = MappingProxyType({})) -> dict[str, Drawing]:
    """Every figure, one after the other. kept: name -> one that is drawn already."""
    return {figure.name: kept.get(figure.name) or figure.drawn() for figure in _figures(view)}


@contextmanager
def drawing_in_background(
    view: View, processes: int | None = None, kept: Mapping[str, Drawing] = MappingProxyType({})
) -> Iterator[Callable[[View], dict[str, Drawing]]]:
    """Begin to draw in processes of their own, one a core; gives a function that waits for all figures.

    It takes the view with the tests over patients, which figures OF_PREDICTIONS are drawn from, here. Its figures are
    those of `draw_here` with that view, byte for byte. A small report is drawn in this process, when the function is
    called. processes: so many whatever the size; 1 draws here. kept: name -> a figure that is drawn already.
    An exception within the block ends the processes at once.
    """
    figures = _figures(view)
    left = [place for place, f in enumerate(figures) if f.name not in kept and f.name not in OF_PREDICTIONS]
    if processes is None:
        processes = cores() if len(view.results) >= PROCESSES_PAY else 1
    if processes == 1 or not left:
        yield partial(draw_here, kept=kept)
        return
    # A fork of this process, which has threads, may wait for ever; of a server that only imported it starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(processes, context, _open, (view.without_logs(),)) as pool:
        try:  # from the end: the maps of features, which take longest, are there
            begun = {place: pool.submit(_draw_one, place) for place in reversed(left)}
        except Exception:  # a study's file with classes of its own cannot be given to another process
            begun = {}

        def collect(tested: View) -> dict[str, Drawing]:
            drawings = {}
            for place, figure in enumerate(_figures(tested)):
                try:
                    drawn = begun[place].result() if place in begun else None
                except BrokenExecutor:  # killed, or this is a script that cannot be imported anew
                    drawn = None
                drawings[figure.name] = kept.get(figure.name) or drawn or figure.drawn()
            return drawings

        try:
            yield collect
        # Ctrl-C, say: nobody needs what they draw, and leaving the pool's block would wait for it. The pool itself can
        # end its processes from Python 3.14 on only; these are its own, since a report starts no others.
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children = multiprocessing.active_children()
            for process in children:
                process.terminate()
            for process in children:
                process.join()
            raise


# The figures of a process that draws, filled by `_open` as it starts. A global, since the view is then sent once for a
# process and not with each figure: a pool hands nothing else from its initializer to its tasks.
_figures_here: list["Figure"] = []


def _open(view: View) -> None:
    """Run once in each process that draws."""
    threading.Thread(target=_end_with_command, daemon=True).start()
    _figures_here[:] = _figures(view)


def _end_with_command() -> None:
    """Where the command was killed: the pool's processes keep each other's pipes open, and would wait for ever."""
    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)


def _draw_one(place: int) -> Drawing:
    """Draw the figure at a place of `_figures`, which is the same list in every process."""
    return _figures_here[place].drawn()


@dataclass(frozen=True)
class Figure:
    """One figure of a study. draw: may raise anything; version: of its file.

    inputs: all that it is drawn from, or digests of it, as values for JSON; may raise where a file cannot be read.
    """

    name: str
    title: str
    draw: Callable[[], Drawing]
    version: int
    inputs: Callable[[], object]

    @property
    def key(self) -> str | None:
        """A drawing made under the same key shows the same. None where an input cannot be read.

        No source text is in it: whoever changes what is drawn raises a VERSION, and a comment draws nothing anew.
        """
        try:
            value = [self.name, self.title, drawing.VERSION, self.version, self.inputs()]
        except Exception:  # a damaged file fails this figure, not the report: drawing it says what is wrong
            return None
        return hashlib.sha256(canonical_json(value).encode()).hexdigest()

    def drawn(self) -> Drawing:
        """Draw it. Never raises: the drawing says why in `missing`."""
        return _drawn(self.name, self.title, self.draw)


def figure_keys(view: View) -> dict[str, str]:
    """Name of each figure that has a key -> its key."""
    return {figure.name: key for figure in _figures(view) if (key := figure.key) is not None}


def _figures(view: View) -> list[Figure]:
    """Those of numbers alone, then those of stored networks and images."""
    return [*_of_numbers(view), *_of_pretraining(view), *_of_networks(view), *_of_training_free(view)]


def _of_numbers(view: View) -> list[Figure]:
    def inputs() -> list[object]:
        return [analysis.VERSION, view.summaries.digest]

    figures = [Figure(m.NAME, m.TITLE, partial(m.draw, view), m.VERSION, inputs) for m in (curves, forest, ranks)]
    for column in view.columns:
        if column[0] == "FT" or len(view.columns) == 1:
            name, title = heat_map.name_of(column), heat_map.title_of(column)
            figures.append(Figure(name, title, partial(heat_map.draw, view, column), heat_map.VERSION, inputs))
    return figures


def _of_pretraining(view: View) -> list[Figure]:
    m = pretraining_curves
    inputs = partial(_encoders, view)
    return [
        Figure(m.LOSSES, m.LOSSES_TITLE, partial(m.draw_losses, view), m.VERSION, inputs),
        Figure(m.NORMS, m.NORMS_TITLE, partial(m.draw_norms, view), m.VERSION, inputs),
    ]


def _of_networks(view: View) -> list[Figure]:
    boxes = {dataset.instance: _boxes(view, dataset) for dataset in view.datasets if dataset.source == BOXED}

    @cache  # several figures have the same inputs, a file for each encoder and for each cell whose network is shown
    def networks() -> list[object]:
        # A cell's weights may change under the same AUROCs: computed again on another machine, or with its tuned
        # weights kept.
        return [_encoders(view), view.digests([view.store.folder(cell) for cell in cells_of_networks(view)])]

    def inputs() -> list[object]:
        return [networks(), view.study.corpus_instance, sorted(view.data_folders.items()), sorted(view.raw), boxes]

    figures = [
        Figure(name, title, partial(feature_maps.draw, view, name, title, rows), feature_maps.VERSION, inputs)
        for name, title, rows in feature_maps.FIGURES
    ]
    for dataset in view.datasets:
        here = boxes.get(dataset.instance, ())
        m = grad_cam_panels
        cam = partial(m.draw, view, dataset, here)
        figures.append(Figure(m.name_of(dataset), m.title_of(dataset), cam, m.VERSION, inputs))
        if dataset.source == BOXED:
            game, version = partial(pointing_game.draw, view, dataset, here), pointing_game.VERSION
            name, title = pointing_game.name_of(dataset), pointing_game.title_of(dataset)
            figures.append(Figure(name, title, game, version, inputs))
    return figures


def _of_training_free(view: View) -> list[Figure]:
    if not view.study.training_free:
        return []
    m = training_free_panels
    inputs = partial(m.inputs, view)
    return [Figure(m.NAME, m.TITLE, partial(m.draw, view), m.VERSION, inputs)]


def _encoders(view: View) -> list[object]:
    """What networks and their curves come from: the results of cells and encoders, by digest."""
    return [view.summaries.digest, view.digests([view.store.folder(run) for run in view.plan.encoders])]


def _boxes(view: View, dataset: Dataset) -> tuple[Box, ...]:
    """The boxes of a dataset's archive, NIH's; none where it is not at hand, or its list is damaged."""
    try:
        return read_boxes(view.raw[dataset.instance]) if dataset.instance in view.raw else ()
    except ArchiveError:
        return ()


def _drawn(name: str, title: str, draw: Callable[[], Drawing]) -> Drawing:
    try:
        return draw()
    except CannotDraw as reason:
        return not_drawn(name, title, str(reason))
    except Exception as error:  # one broken figure must not fail the report
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return not_drawn(name, title, f"Drawing failed: {type(error).__name__}: {error} ({place})", failed=True)
