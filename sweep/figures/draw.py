"""Which figures does a study have, and what do they look like now: name -> Drawing."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from datasets_io.nih_boxes import Box, read_boxes
from datasets_io.schema import ArchiveError
from sweep.aggregate import CellResult
from sweep.figures import (
    curves,
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
from sweep.figures.view import View
from sweep.plan import Plan
from sweep.store import ReadStore
from sweep.studies import Study

BOXED = "nih_cxr14"
PROCESSES_PAY = 300  # results: the demo's 650 take a core a minute to draw


def draw_all(
    study: Study, plan: Plan, results: Sequence[CellResult], store: ReadStore,
    data_folders: Mapping[str, str] | None = None, raw: Mapping[str, Path] | None = None,
) -> dict[str, Drawing]:
    """Every figure, in the order of a report. Never raises: a figure that cannot be drawn says why in `missing`.

    data_folders: source -> folder of its shards in the storage. raw: source -> raw archive, where it is known: NIH's
    boxes are read from it.
    """
    return draw_here(View(study, plan, results, store, data_folders or {}, raw or {}))


def draw_here(view: View) -> dict[str, Drawing]:
    """Every figure, one after the other."""
    return {name: _drawn(name, title, draw) for name, title, draw in _figures(view)}


@contextmanager
def drawing_beside(view: View, processes: int | None = None) -> Iterator[Callable[[], dict[str, Drawing]]]:
    """Begin to draw in processes of their own, one a core; what it gives waits for the figures of `draw_here`.

    A small report is drawn here, once it is asked for: a process takes seconds to import what it needs.
    processes: so many whatever the size; 1 draws here.
    """
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if len(view.results) >= PROCESSES_PAY else 1
    if processes == 1:
        yield partial(draw_here, view)
        return
    figures = _figures(view)
    context = multiprocessing.get_context("spawn")  # a fork of a process that has threads may wait for ever
    with ProcessPoolExecutor(processes, context, _open, (view,)) as pool:
        try:  # from the end: the maps of features, which take longest, are there
            begun = [pool.submit(_draw_one, place) for place in reversed(range(len(figures)))][::-1]
        except Exception:  # a study's file with classes of its own cannot be given to another process
            begun = [None] * len(figures)

        def collect() -> dict[str, Drawing]:
            drawings = {}
            for (name, title, draw), future in zip(figures, begun, strict=True):
                try:
                    drawings[name] = _drawn(name, title, draw) if future is None else future.result()
                except BrokenExecutor:  # killed, or this is a script that cannot be imported anew
                    drawings[name] = _drawn(name, title, draw)
            return drawings

        try:
            yield collect
        except BaseException:  # Ctrl-C, say: nobody will look at what they draw
            pool.shutdown(wait=False, cancel_futures=True)
            drawing = multiprocessing.active_children()
            for process in drawing:
                process.terminate()
            for process in drawing:
                process.join()
            raise


_opened: list[tuple[str, str, Callable[[], Drawing]]] = []


def _open(view: View) -> None:
    """In a process that draws, once."""
    _opened[:] = _figures(view)


def _draw_one(place: int) -> Drawing:
    return _drawn(*_opened[place])


def _figures(view: View) -> list[tuple[str, str, Callable[[], Drawing]]]:
    """(name, title, what draws it)."""
    figures = [(m.NAME, m.TITLE, partial(m.draw, view)) for m in (curves, forest, ranks)]
    for column in view.columns:
        if column[0] == "FT" or len(view.columns) == 1:
            figures.append((heat_map.name_of(column), heat_map.title_of(column), partial(heat_map.draw, view, column)))
    losses, norms = pretraining_curves.draw_losses, pretraining_curves.draw_norms
    figures.append((pretraining_curves.LOSSES, pretraining_curves.LOSSES_TITLE, partial(losses, view)))
    figures.append((pretraining_curves.NORMS, pretraining_curves.NORMS_TITLE, partial(norms, view)))
    for name, title, rows in feature_maps.FIGURES:
        figures.append((name, title, partial(feature_maps.draw, view, name, title, rows)))
    boxes = _boxes(view)
    for dataset in view.datasets:
        here = boxes if dataset.source == BOXED else ()
        cam = partial(grad_cam_panels.draw, view, dataset, here)
        figures.append((grad_cam_panels.name_of(dataset), grad_cam_panels.title_of(dataset), cam))
        if dataset.source == BOXED:
            game = partial(pointing_game.draw, view, dataset, here)
            figures.append((pointing_game.NAME, pointing_game.TITLE, game))
    if view.study.training_free:
        without = training_free_panels.NAME, training_free_panels.TITLE
        figures.append((*without, partial(training_free_panels.draw, view)))
    return figures


def _boxes(view: View) -> tuple[Box, ...]:
    """The boxes of NIH's archive; none where it is not at hand. A damaged list costs the boxes, not the report."""
    try:
        return read_boxes(view.raw[BOXED]) if BOXED in view.raw else ()
    except ArchiveError:
        return ()


def _drawn(name: str, title: str, draw: Callable[[], Drawing]) -> Drawing:
    try:
        return draw()
    except CannotDraw as reason:
        return not_drawn(name, title, str(reason))
    except Exception as error:  # one broken figure must not cost the report
        where = traceback.extract_tb(error.__traceback__)[-1]
        return not_drawn(
            name, title, f"Drawing failed: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        )
