"""Can every pretraining start from the row that it names: is that there, does it end, is it the same network?"""

from collections.abc import Iterator, Mapping

import torch

from datasets_io.nearest import did_you_mean
from sweep.studies.study import EncoderRow, Study
from trainables.networks.backbones import build_backbone
from trainables.recipe import BackboneSpec, PretrainRecipe


def start_problems(study: Study) -> Iterator[str]:
    """A sentence for each row that starts from one that is not there, from itself, or from another network."""
    rows = {row.name: row for row in (*study.rows, *study.hidden_rows)}
    for row in rows.values():
        start = _start(row)
        if start is not None and start not in rows:
            hint = did_you_mean(start, rows)
            yield (
                f"{row.name} starts from {start!r}, which is no row of study {study.name!r}: add it, or to hidden_rows "
                f"where it is not to be shown{hint}"
            )
    yield from _circles(rows)
    for row in rows.values():
        start = _start(row)
        if start in rows and start != row.name:
            yield from _other_network(row, rows[start])


def _start(row: EncoderRow) -> str | None:
    """Name of the row whose weights it starts from; None for one without pretraining."""
    return row.recipe.initial if isinstance(row.recipe, PretrainRecipe) else None


def _circles(rows: Mapping[str, EncoderRow]) -> Iterator[str]:
    """Each circle once: a row has one start, so following it either ends or comes back."""
    told: set[str] = set()
    for name in rows:
        path: list[str] = []
        at: str | None = name
        while at is not None and at in rows and at not in path and at not in told:
            path.append(at)
            at = _start(rows[at])
        if at in path:
            circle = path[path.index(at) :]
            if len(circle) == 1:
                yield f"row {name!r} starts from itself: `initial` must name another row, such as imagenet or random"
            else:
                yield f"rows {' -> '.join([*circle, circle[0]])} start from each other: one must start from another row"
        told.update(path)


def _other_network(row: EncoderRow, start: EncoderRow) -> Iterator[str]:
    own, given = row.recipe.backbone, start.recipe.backbone
    if _architecture(own) == _architecture(given) or _same_tensors(own, given):
        return
    yield (
        f"row {row.name!r} has the backbone {_called(own)} and starts from row {start.name!r}, whose backbone is "
        f"{_called(given)}: its weights do not fit; give both rows the same backbone"
    )


def _architecture(spec: BackboneSpec) -> tuple[object, ...]:
    # What stands behind timm's dot names the weights, and not the network.
    return spec.name.partition(".")[0], spec.options


def _called(spec: BackboneSpec) -> str:
    return f"{spec.name} {dict(spec.options)}" if spec.options and len(repr(spec.options)) < 80 else spec.name


def _same_tensors(own: BackboneSpec, given: BackboneSpec) -> bool:
    """Whether two networks of other names or options have tensors of the same names and shapes.

    Also where one of them cannot be built: that is said when it is tried, of the row itself.
    """
    try:
        with torch.device("meta"):  # shapes without memory or initialisation
            shapes = [
                {name: tensor.shape for name, tensor in build_backbone(spec, 0).state_dict().items()}
                for spec in (own, given)
            ]
    except Exception:
        return True
    return shapes[0] == shapes[1]
