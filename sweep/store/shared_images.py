"""Which pictures does a study test on that it also trains on, under the ids of another archive?

Archives are made of others: the RSNA's images are NIH's, CheXlocalize's are CheXpert's. Where both are in one study,
and images have the same ids in both, this counts those of a dataset's test split that are also in what encoders are
pretrained on, or in another dataset's train split.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import read_table
from datasets_io.schema import SPLITS
from datasets_io.sources.registry import get_source
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import ReadFiles
from sweep.studies.study import Study

COLUMNS = ["image_id", "patient_id"]


@dataclass(frozen=True)
class SharedImages:
    """dataset: name of the use whose test images are meant; other: of the one they may also be in.

    pretraining: whether encoders are pretrained on the other. images, patients: how many of test_images and
    test_patients are in the train split of both; None where ids cannot tell.
    """

    dataset: str
    other: str
    pretraining: bool
    test_images: int
    test_patients: int
    images: int | None = None
    patients: int | None = None

    @property
    def text(self) -> str:
        """One sentence for a report."""
        where = (
            f"{self.other}, which encoders are pretrained on"
            if self.pretraining
            else f"the train split of {self.other}"
        )
        if self.images is None or self.patients is None:
            return (
                f"{self.dataset} and {self.other} share pictures, and their ids do not tell which: of the "
                f"{self.test_images:,} test images of {self.dataset} some may be in {where}."
            )
        return (
            f"Of the {self.test_images:,} test images of {self.dataset} {self.images:,} are also in {where}, and "
            f"{self.patients:,} of its {self.test_patients:,} test patients."
        )


Ids = dict[str, tuple[set[str], set[str]]]  # split -> ids of images and of patients


def shared_images(
    study: Study, folders: Mapping[str, str], manifests: Mapping[str, Manifest], files: ReadFiles
) -> tuple[SharedImages, ...]:
    """One for each pair of archives that have pictures in common, and of one source where some are.

    folders, manifests: label of a build -> where it lies, of those that are there. Reads ids of such pairs alone; what
    is damaged is left out here, and told by whoever reads it.
    """
    labels = {d.instance: study.any_build(d, manifests) for d in study.datasets}
    corpus = next((b.label for b in study.data_builds() if b.instance == study.corpus_instance), None)
    labels[study.corpus_instance] = corpus if corpus in manifests else None
    read: dict[str, Ids] = {}

    def ids_of(instance: str) -> Ids:
        label = labels[instance]
        assert label is not None  # _pairs gives no other
        if instance not in read:
            read[instance] = _ids(files, folders[label], manifests[label])
        return read[instance]

    found = []
    for dataset, other, test_split in _pairs(study, labels):
        try:
            one = _compared(study, dataset, other, ids_of(dataset)[test_split], ids_of(other), ids_of(dataset))
        except (OSError, ValueError, CorruptArtefact):
            continue
        same_source = study.instances[dataset] == study.instances[other]
        if one.test_images and not (same_source and not one.images):
            found.append(one)
    return tuple(found)


def _pairs(study: Study, labels: Mapping[str, str | None]) -> Iterator[tuple[str, str, str]]:
    """(dataset, other use, the dataset's test split) of uses that are built and whose sources are related."""
    others = dict.fromkeys([study.corpus_instance, *(dataset.instance for dataset in study.datasets)])
    for dataset in study.datasets:
        for other in others:
            built = labels[dataset.instance] is not None and labels[other] is not None
            if other != dataset.instance and built and _related(dataset.source, study.instances[other]) is not None:
                yield dataset.instance, other, dataset.recipe.splits.test


def _related(first: str, second: str) -> bool | None:
    """Whether the ids of two sources tell shared pictures; None where they share none."""
    one, other = get_source(first), get_source(second)
    if first == second:
        return True if one.findings_in is None else None  # an archive of somebody's own may be any
    spaces = [{source.name, *source.shares_ids_with} for source in (one, other)]
    if spaces[0] & spaces[1]:
        return True
    return False if second in one.shares_pictures_with or first in other.shares_pictures_with else None


def _ids(files: ReadFiles, folder: str, manifest: Manifest) -> Ids:
    tables = {split: read_table(files, folder, manifest, split, COLUMNS) for split in SPLITS}
    return {split: (set(t[COLUMNS[0]].to_pylist()), set(t[COLUMNS[1]].to_pylist())) for split, t in tables.items()}


def _compared(
    study: Study, dataset: str, other: str, test: tuple[set[str], set[str]], others: Ids, own: Ids
) -> SharedImages:
    sizes = (dataset, other, other == study.corpus_instance, len(test[0]), len(test[1]))
    # Of an archive whose map was not at hand no id is the other's: that says nothing about its pictures.
    tells = _related(study.instances[dataset], study.instances[other]) and any(
        own[split][0] & others[place][0] for split in SPLITS for place in SPLITS
    )
    if not tells and study.instances[dataset] != study.instances[other]:
        return SharedImages(*sizes)
    train = others["train"]
    return SharedImages(*sizes, len(test[0] & train[0]), len(test[1] & train[1]))
