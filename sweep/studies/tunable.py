"""Which values of a method are searched, over which range, and how they enter a study. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from datasets_io.nearest import did_you_mean
from sweep.studies.study import EncoderRow, Study
from trainables.objectives.joint import JointConfig
from trainables.recipe import PretrainRecipe
from trainables.registry import IMAGE_IMAGE, IMAGE_TEXT

WEIGHT = "c"  # the paper's name of the weight of the image-image part


@dataclass(frozen=True)
class Range:
    """An interval of a float; `log`: each factor is as likely as any other."""

    low: float
    high: float
    log: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is in the interval, ends included."""
        return self.low <= value <= self.high


# The published temperatures are 0.07 to 0.5; at c = 0 a joint method would be its image-text part alone.
TEMPERATURE, JOINT_WEIGHT = Range(0.01, 1.0, log=True), Range(0.05, 2.0)


def search_row(study: Study, method: str) -> EncoderRow:
    """The study's row of a method. Raises ValueError for an unknown one and for one with nothing to search."""
    row = next((row for row in study.rows if row.name == method), None)
    pretrained = [row.name for row in study.rows if isinstance(row.recipe, PretrainRecipe)]
    if row is None or row.name not in pretrained:
        hint = did_you_mean(method, pretrained)
        raise ValueError(
            f"study {study.name!r} pretrains no method {method!r}; it pretrains {', '.join(pretrained)}{hint}"
        )
    if not values_of(row.recipe.objective):
        raise ValueError(f"{method} has neither a temperature nor a joint weight: there is nothing to tune")
    return row


def _parts(objective: Any) -> dict[str, Any]:
    """Field -> configuration of each part; a method of one part is that part, under the name ""."""
    if isinstance(objective, JointConfig):
        return {"image_text": objective.image_text, "image_image": objective.image_image}
    return {"": objective}


def _name(part: Any) -> str:
    kinds = {kind: name for name, kind in (IMAGE_TEXT | IMAGE_IMAGE).items()}
    return f"{kinds[type(part)]}.temperature"


def values_of(objective: Any) -> dict[str, float]:
    """The values that can be searched, as the objective has them: `clip.temperature`, `c`."""
    found = {_name(part): part.temperature for part in _parts(objective).values() if hasattr(part, "temperature")}
    return found | ({WEIGHT: objective.settings.ssl_weight} if isinstance(objective, JointConfig) else {})


def space_of(objective: Any) -> dict[str, Range]:
    """The range of each of `values_of`."""
    return {name: JOINT_WEIGHT if name == WEIGHT else TEMPERATURE for name in values_of(objective)}


def with_values(objective: Any, values: Mapping[str, float]) -> Any:
    """The objective with these values. Raises ValueError for a name that it does not have."""
    unknown = sorted(set(values) - set(values_of(objective)))
    if unknown:
        there = values_of(objective)
        hint = did_you_mean(unknown[0], there)
        raise ValueError(f"no value {', '.join(unknown)} to set; there are {', '.join(there)}{hint}")
    changed = {
        field: replace(part, temperature=values[_name(part)])
        for field, part in _parts(objective).items()
        if hasattr(part, "temperature") and _name(part) in values
    }
    if not isinstance(objective, JointConfig):
        return changed.get("", objective)
    if WEIGHT in values:
        changed["settings"] = replace(objective.settings, ssl_weight=values[WEIGHT])
    return replace(objective, **changed)


def tuned(study: Study, method: str, values: Mapping[str, float]) -> Study:
    """The study with one row's values replaced, and a sentence about it in every report.

    method: name of the row; values: as `values_of` names them. Raises ValueError for a row without them.
    """
    row = search_row(study, method)
    recipe = replace(row.recipe, objective=with_values(row.recipe.objective, values))
    rows = tuple(replace(r, recipe=recipe) if r.name == method else r for r in study.rows)
    listed = ", ".join(f"{name} = {value:.4g}" for name, value in sorted(values.items()))
    note = f"{row.display}: {listed}, tuned on patients held out of the training splits; no test image was used."
    # Several methods may be tuned one after the other: the study's name says it once.
    name = study.name if study.name.endswith("-tuned") else f"{study.name}-tuned"
    return replace(study, name=name, rows=rows, deviations=(*study.deviations, note))
