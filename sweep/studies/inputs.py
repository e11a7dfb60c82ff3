"""What is each row's network given, in a readable line: its own preprocessing, or the data sets' way?"""

from collections.abc import Collection

from sweep.studies.study import Study
from trainables.recipe import BackboneSpec
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing


def of_dataset(spec: EvalSpec) -> Preprocessing:
    """What a data set gives to networks without a preprocessing of their own, for reading."""
    mean, std = (spec.mean, spec.std) if spec.normalise else ((0.0,) * 3, (1.0,) * 3)
    return Preprocessing(spec.size, "squash", spec.resize, resampler="torch_floats", mean=mean, std=std)


def input_line(backbone: BackboneSpec, study: Study) -> str:
    """One readable line of what a network is given."""
    if backbone.preprocessing is not None:
        return str(backbone.preprocessing)
    displays: dict[str, list[str]] = {}  # data sets that say the same stand together
    for dataset in study.datasets:
        line = str(of_dataset(dataset.recipe.eval_spec.at_size(backbone.image_size)))
        displays.setdefault(line, []).append(dataset.display)
    return "as the data set says: " + "; ".join(f"{', '.join(names)} {line}" for line, names in displays.items())


def input_lines(study: Study, asked: Collection[str] | None = None) -> list[tuple[str, str]]:
    """(names of rows, what they are given), rows that are given the same together, in the study's order.

    asked: the names of those that are meant, where not all are.
    """
    groups: dict[str, list[str]] = {}
    for row in study.rows:
        if asked is not None and row.name not in asked:
            continue
        groups.setdefault(input_line(row.recipe.backbone, study), []).append(row.name)
    return [(", ".join(names), line) for line, names in groups.items()]
