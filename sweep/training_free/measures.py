"""Which columns need no training, and how is each computed?

`knn`: weighted nearest neighbours on features, each data set. `zero_shot`: prompt pairs, each data set, methods
that read reports. `retrieval`: reports by images and images by reports of the corpus's held-out images, the same
methods. Sources and formulas stand in trainables/evaluation (knn.py, zero_shot.py, retrieval.py). Results are kept
below the storage: what is done is never computed again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from datasets_io.corpus.read import open_split, read_manifest
from datasets_io.fingerprint import fingerprint
from datasets_io.nearest import did_you_mean
from datasets_io.storage.artefacts import RESULT, Artefacts, is_done, move_to_quarantine, open_artefacts, publish
from datasets_io.storage.files import Files
from sweep.store.damage import Damage
from sweep.store.snapshot import Snapshot, fingerprint_of
from sweep.store.store import TRAINING_FREE, ReadStore
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import EncoderRun, seen_at
from trainables.evaluation import knn, retrieval, zero_shot
from trainables.evaluation.cell_model import load_backbone
from trainables.evaluation.dataset import Parts, backbone_input, load_parts
from trainables.evaluation.encoder_features import image_features
from trainables.evaluation.image_text import image_text_part, load_image_text
from trainables.evaluation.metrics import auroc_per_finding, macro
from trainables.evaluation.predictions_file import LOGIT, PROBABILITY, predictions_parquet
from trainables.recipe import DownstreamRecipe, PretrainRecipe, RandomInit
from trainables.training.devices import own_device
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

Contents = dict[str, bytes]  # name of a file -> what is in it
Measured = tuple[Contents, dict[str, Any]]  # what is stored of an item: files, and its result for result.json
NumberRow = tuple[str, int, str, str, str, float | None, int, str]  # as HEADER

# Kind -> its version, which is part of an item's key: a raised one is computed again.
KINDS = {"knn": knn.VERSION, "zero_shot": zero_shot.VERSION, "retrieval": retrieval.VERSION}
HEADER = ("method", "pretrain_seed", "kind", "source", "measure", "value", "n", "key")
MOST_PAIRS = 10_000  # images with a report that are ranked against each other
MEND = "run sweep.training_free again, which computes it again once its encoder and its data are whole"


@dataclass(frozen=True)
class Item:
    """One thing to compute: a kind, an encoder, and the data set it is measured on, or the corpus.

    source: that one's name in the study; build: label of the shards that are read. key: over all that its result
    depends on; folder: where that is kept in the storage.
    """

    kind: str
    run: EncoderRun
    source: str
    key: str
    folder: str
    build: str


def items_of(data: Snapshot, kinds: tuple[str, ...] | None = None) -> list[Item]:
    """What the study asks for, encoders in its order. kinds: instead of the study's.

    Raises BadInput for a kind that is not one of KINDS.
    """
    kinds = data.study.training_free if kinds is None else kinds
    check_kinds(kinds)
    rows = {row.name for row in data.study.rows}
    items = []
    for kind in kinds:
        for run in data.plan.encoders:
            # Encoders that others only start from are no rows; without a text tower there are features alone.
            if run.row not in rows or (kind != "knn" and not reads_reports(run.recipe)):
                continue
            if isinstance(run.recipe, RandomInit) and run.network_seed is None:  # a pretraining starts from it: no row
                continue
            if kind == "retrieval":
                corpus = data.study.corpus_instance
                items.append(_item(data, kind, run, corpus, None, corpus))
            else:
                for d in data.study.datasets:
                    build = data.study.build_read(run.recipe.backbone, d).label
                    items.append(_item(data, kind, run, d.instance, d.recipe, build))
    return items


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise BadInput for a kind that is not one of KINDS."""
    for kind in kinds:
        if kind not in KINDS:
            raise BadInput(
                f"there is no training-free kind {kind!r}; known: {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
            )


def reads_reports(recipe: object) -> bool:
    """Whether an encoder was pretrained on images and reports, so that it has a text tower. recipe: an encoder's."""
    return isinstance(recipe, PretrainRecipe) and image_text_part(recipe.objective) is not None


def _item(data: Snapshot, kind: str, run: EncoderRun, source: str, recipe: DownstreamRecipe | None, build: str) -> Item:
    # Also of data that are not built: the item is then listed, and has another key than once they are.
    built = fingerprint_of(build, data.manifests)
    seen = None if recipe is None else seen_at(run, recipe)
    sizes = [] if seen is None else [seen]
    key = fingerprint([kind, KINDS[kind], run.key, source, built, recipe.key if recipe else None, *sizes])
    return Item(kind, run, source, key, data.store.training_free_folder(kind, run, source, key), build)


def compute_all(data: Snapshot, kinds: tuple[str, ...] | None = None, show: Callable[[str], None] = print) -> int:
    """Compute what is missing of finished encoders; how many were computed. One failure does not stop the others.

    On the first GPU where there is one. show: called with a line for each item that was computed or failed.
    """
    device = own_device()
    files = Files(data.store.files.uri)  # only its own numbers are written, whatever the store of `data` may do
    sizes = data.store.files.sizes(TRAINING_FREE)
    done, _ = data.store.done_and_failed()
    computed = 0
    for item in items_of(data, kinds):
        ready = data.store.folder(item.run) in done and item.build in data.data_folders
        kept = _kept(data, item, sizes) if ready and str(item.run) not in data.damage else None
        if not ready or str(item.run) in data.damage or isinstance(kept, Artefacts):
            continue
        try:
            contents, result = MEASURES[item.kind](data, item, device)
            parents = {data.store.folder(item.run): data.store.open(item.run).content_sha256}
        except Exception as error:  # the others go on, as cells do
            show(f"{item.kind} of {item.run} on {item.source} failed: {type(error).__name__}: {error}")
            continue
        result = {**result, "kind": item.kind, "name": str(item.run), "source": item.source, "key": item.key}
        if isinstance(kept, Damage) and files.exists(f"{item.folder}/{RESULT}"):
            move_to_quarantine(files, item.folder, kept.what)
        publish(files, item.folder, contents, result, parents=parents)
        computed += 1
        show(f"{item.kind} of {item.run} on {item.source}: {_headline(result)}")
    return computed


def _headline(result: dict[str, Any]) -> str:
    """The number of an item, in percent, for a line of the terminal."""
    if "macro_auroc" in result:
        value = result["macro_auroc"]
        return "no finding has both classes" if value is None else f"macro AUROC {100 * value:.2f}"
    return f"R@1 {100 * result['image_to_text'][0]:.1f} to reports, {100 * result['text_to_image'][0]:.1f} to images"


# Items of one kind come encoder by encoder, each on every data set: the two of the paper stay in memory.
@lru_cache(maxsize=2)
def _parts(store: ReadStore, folder: str, recipe: DownstreamRecipe, sees: BackboneInput) -> Parts:
    return load_parts(store.files, folder, read_manifest(store.files, folder), recipe, sees)


def _recipe_of(data: Snapshot, source: str) -> DownstreamRecipe:
    return next(dataset.recipe for dataset in data.study.datasets if dataset.instance == source)


def _labelled(parts: Parts, scores: np.ndarray, kind: str) -> Measured:
    """Predictions on the test images and their AUROCs in [0, 1]. scores: (N, F), kind as of predictions_parquet."""
    if kind == LOGIT:
        scores = scores.astype(np.float32)  # as they are kept, so that the AUROC can be made again
    findings = auroc_per_finding(scores, parts.test.targets, parts.test.known, parts.findings)
    result = {"macro_auroc": macro(findings), "findings": [asdict(finding) for finding in findings]}
    return {"predictions.parquet": predictions_parquet(parts, scores, kind)}, result


def _knn(data: Snapshot, item: Item, device: torch.device) -> Measured:
    """Labels of the nearest training images, all of them with their labels."""
    recipe = _recipe_of(data, item.source)
    sees = backbone_input(item.run.recipe.backbone, recipe)
    parts = _parts(data.store, data.data_folders[item.build], recipe, sees)
    backbone = load_backbone(data.store.files, data.store.folder(item.run), item.run.recipe.backbone)
    train, test = (
        torch.from_numpy(image_features(backbone, sees, part.pixels, device)) for part in (parts.train, parts.test)
    )
    # Probabilities: where all neighbours agree they are 0 or 1, which no logit is.
    return _labelled(parts, knn.knn_probabilities(train, parts.train.targets, parts.train.known, test), PROBABILITY)


def _zero_shot(data: Snapshot, item: Item, device: torch.device) -> Measured:
    """A prompt for a finding against one for its absence; no label of the data set is read but to measure."""
    recipe = _recipe_of(data, item.source)
    sees = backbone_input(item.run.recipe.backbone, recipe)
    parts = _parts(data.store, data.data_folders[item.build], recipe, sees)
    model = load_image_text(data.store.open(item.run), item.run.recipe, device)
    present, absent = zero_shot.class_embeddings(model.texts, parts.findings)
    zero_shot.check_told_apart(present, absent, parts.findings)
    images = model.images(sees, parts.test.pixels)
    return _labelled(parts, zero_shot.zero_shot_logits(images, present, absent, model.scale), LOGIT)


def _retrieval(data: Snapshot, item: Item, device: torch.device) -> Measured:
    """On the corpus's test images that have a report; on its validation images where it has none for testing."""
    folder = data.data_folders[item.build]
    manifest = read_manifest(data.store.files, folder)
    counts = manifest.counts["splits"]
    # Held-out images that the encoder was not pretrained on, so that no report was learned by heart.
    split = "test" if counts["test"]["with_impression"] else "val"
    backbone = item.run.recipe.backbone
    sees = BackboneInput(EvalSpec(backbone.image_size), own=backbone.preprocessing)
    images = open_split(data.store.files, folder, manifest, split, sees.fit(manifest.shape))
    pairs = [(row, text) for row, text in enumerate(images.impressions) if text][:MOST_PAIRS]
    rows = [row for row, _ in pairs]
    texts, own = retrieval.distinct([text for _, text in pairs])
    model = load_image_text(data.store.open(item.run), item.run.recipe, device)
    found = retrieval.recall(model.images(sees, images.pixels[rows]), model.texts(texts), own)
    return {}, {"split": split, **asdict(found)}


MEASURES: Mapping[str, Callable[[Snapshot, Item, torch.device], Measured]]
MEASURES = {"knn": _knn, "zero_shot": _zero_shot, "retrieval": _retrieval}


def _kept(data: Snapshot, item: Item, sizes: Mapping[str, int]) -> Artefacts | Damage | None:
    """An item that was computed before, or what is damaged in it. sizes: of everything below TRAINING_FREE."""
    found = data.store.examine(item.folder, sizes)
    if isinstance(found, Artefacts) and (field := _lacking(found.result, item.kind)) is not None:
        return Damage(
            item.folder, item.folder, f"{item.folder}/{RESULT} has no {field}, or another number of them", MEND
        )
    return found


def _lacking(result: Mapping[str, Any], kind: str) -> str | None:
    """The first field that rows_of reads and a sealed result does not have as it was written."""
    if kind != "retrieval":
        return next((field for field in ("findings", "macro_auroc") if field not in result), None)
    recalls = [
        field for field in ("image_to_text", "text_to_image") if len(result.get(field, ())) != len(retrieval.CUTS)
    ]
    return next(iter([*recalls, *(field for field in ("num_texts", "num_images") if field not in result)]), None)


def damage_of(data: Snapshot, kinds: tuple[str, ...] | None = None) -> dict[str, Damage]:
    """Folder -> what is damaged in an item that was computed before and could not be computed again."""
    sizes = data.store.files.sizes(TRAINING_FREE)
    found = ((item, _kept(data, item, sizes)) for item in items_of(data, kinds))
    return {
        item.folder: replace(damage, name=f"{item.kind} of {item.run} on {item.source}", mend=MEND)
        for item, damage in found
        if isinstance(damage, Damage)
    }


def rows_of(data: Snapshot, kinds: tuple[str, ...] | None = None, without: Collection[str] = ()) -> list[NumberRow]:
    """As HEADER: a row a number of what is finished, None where an AUROC is undefined. Values lie in [0, 1].

    n: findings in a macro AUROC, or texts or images that a recall is over. kinds: as of `items_of`.
    without: folders that are left out, since they are damaged; another one that is raises CorruptArtefact.
    """
    rows: list[NumberRow] = []
    for item in items_of(data, kinds):
        if item.folder in without or not is_done(data.store.files, item.folder):
            continue
        result = open_artefacts(data.store.files, item.folder).result
        head = (item.run.row, item.run.pretrain_seed, item.kind, item.source)
        if item.kind == "retrieval":
            for direction, number in (("image_to_text", "num_texts"), ("text_to_image", "num_images")):
                for cut, value in zip(retrieval.CUTS, result[direction], strict=True):
                    rows.append((*head, f"{direction} R@{cut}", value, result[number], item.key))
        else:
            defined = sum(finding["auroc"] is not None for finding in result["findings"])
            rows.append((*head, "macro_auroc", result["macro_auroc"], defined, item.key))
    return rows


def means_of(rows: Iterable[NumberRow]) -> dict[tuple[str, str, str, str], float | None]:
    """(method, kind, source, measure) -> mean over pretraining seeds, in [0, 1]; None where no seed has a number.

    rows: as `rows_of` gives, whose order is kept.
    """
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for method, _, kind, source, measure, value, _, _ in rows:
        values.setdefault((method, kind, source, measure), []).extend([] if value is None else [value])
    return {place: sum(some) / len(some) if some else None for place, some in values.items()}


def table_markdown(
    data: Snapshot, kinds: tuple[str, ...] | None = None, damage: Mapping[str, Damage] = MappingProxyType({})
) -> str:
    """A row a method, a column a measure, in percent; the mean over pretraining seeds. "" where there is nothing.

    damage: folder of an item -> what is damaged in it; such items are left out and named below the table.
    """
    means: dict[tuple[str, str], float | None] = {}
    columns: dict[str, None] = {}
    displays = {d.instance: data.study.display_of(d) for d in data.study.datasets}
    for (method, kind, source, measure), mean in means_of(rows_of(data, kinds, damage)).items():
        name = measure.replace("_", " ") if kind == "retrieval" else f"{kind} {displays.get(source, source)}"
        columns[name] = None
        means[method, name] = mean
    if not columns:
        return ""
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in data.study.rows:
        found = [means.get((row.name, name)) for name in columns]
        cells = ["–" if mean is None else f"{100 * mean:.2f}" for mean in found]
        lines.append(f"| {row.display} | " + " | ".join(cells) + " |")
    lines += ["", *(f"- left out, damaged: {found.line}" for found in damage.values())] if damage else []
    return "\n".join(lines) + "\n"


def is_complete(data: Snapshot, kinds: tuple[str, ...] | None = None) -> bool:
    """Whether every number is there whose encoder is finished and whose data are built. kinds: as of `items_of`."""
    done, sizes = data.store.done_and_failed()[0], data.store.files.sizes(TRAINING_FREE)
    wanted = [i for i in items_of(data, kinds) if data.store.folder(i.run) in done and i.build in data.data_folders]
    return all(isinstance(_kept(data, item, sizes), Artefacts) for item in wanted)
