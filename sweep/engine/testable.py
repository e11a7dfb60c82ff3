"""Can a data set of somebody's own be tested at all? Asked before any work: an AUROC needs both labels of a finding."""

from collections.abc import Iterable, Mapping

import pyarrow.compute as pc

from datasets_io.build.spec import options_of
from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.shard_file import open_shard
from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN, Record, label_column
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import ReadFiles
from sweep.store.shards import DataPlan
from sweep.studies.study import Dataset
from trainables.recipe import LabelPolicy

Codes = set[int | None]  # of one finding, that some image of the test part has; None: blank


def codes_listed(plan: DataPlan, records: Iterable[Record], split: str) -> dict[str, Codes]:
    """Finding -> codes, of an archive of which nothing is built yet."""
    find = get_source(plan.spec.source).findings_in
    assert find is not None and plan.raw is not None, "only such archives are looked at"
    found = {name: set[int | None]() for name in find(plan.raw, options_of(plan.spec))}
    for record in records:
        if record.split == split:
            for codes, code in zip(found.values(), record.labels, strict=True):
                codes.add(code)
    return found


def codes_built(files: ReadFiles, folder: str, manifest: Manifest, split: str) -> dict[str, Codes]:
    """As `codes_listed`, of shards. Raises OSError, ValueError or CorruptArtefact where one cannot be read."""
    found = {name: set[int | None]() for name in manifest.findings}
    columns = [label_column(name) for name in found]
    for shard in manifest.shards:
        if shard.split == split:
            path = f"{folder}/{shard.path}"
            with (
                files.fs.open_input_file(files.full(path)) as stream,
                open_shard(stream, manifest.findings, path) as one,
            ):
                table = one.read(columns=columns)
            for name, column in zip(found, columns, strict=True):
                found[name].update(pc.unique(table[column]).to_pylist())
    return found


def one_class_problem(dataset: Dataset, found: Mapping[str, Codes]) -> str | None:
    """A sentence where no finding that the recipe evaluates has a positive and a negative image; else None."""
    wanted = dataset.recipe.findings or tuple(found)
    read = {name: _labels(found[name], dataset.recipe.label_policy) for name in wanted if name in found}
    if not read or any(labels == {NEGATIVE, POSITIVE} for labels in read.values()):
        return None
    split = dataset.recipe.splits.test
    has = "; ".join(f"{name}: {_said(labels)}" for name, labels in list(read.items())[:4])
    more = f"; and {len(read) - 4} more" if len(read) > 4 else ""
    return (
        f"{dataset.instance}: no finding has both a positive and a negative image in its test part (split {split}), so "
        f"that no AUROC can be computed ({has}{more}): give other images the split {split}"
    )


def _labels(codes: Codes, policy: LabelPolicy) -> set[int]:
    """What a test makes of raw codes, as trainables.evaluation.dataset.targets_of does."""
    labels = {code for code in codes if code in (NEGATIVE, POSITIVE) and code is not None}
    if policy.evaluation == "policy":
        if UNCERTAIN in codes and policy.uncertain != "ignore":
            labels.add(POSITIVE if policy.uncertain == "ones" else NEGATIVE)
        if None in codes and policy.blank != "ignore":
            labels.add(NEGATIVE)
    return labels


def _said(labels: set[int]) -> str:
    return "no image with a label" if not labels else "positive alone" if labels == {POSITIVE} else "negative alone"
