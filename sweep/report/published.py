"""What did the paper print for a row and column, and of the same test images? Reference beside our numbers only."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from datasets_io.build.spec import options_of
from datasets_io.sources.nih_cxr14 import NihOptions
from sweep.report.published_values import (
    COLUMNS,
    GLOBAL_BATCH_SIZE,
    MEANS,
    PER_FINDING,
    PER_FINDING_COLUMNS,
    PER_FINDING_ROWS,
)
from sweep.statistics.summaries import ALSO_TEST
from sweep.studies.study import Dataset, Study

SOURCE = "Huang et al., MIDL 2023"
# Printed so in Tables 4 and 6, and correctly in 2.
MISPRINTS = {"Enlarged Cardiomeastinum": "Enlarged Cardiomediastinum"}
# Tables 4 and 6 print the prevalences of these two in each other's row, and 2 in their own: its order of rows is
# another, and the prevalences stayed in it. AUROCs went with the names: Lung Lesion's are k / 201 in all three.
SWAPPED_TABLES, SWAPPED = (4, 6), {"Lung Lesion": "Lung Opacity", "Lung Opacity": "Lung Lesion"}

# Which published values stand beside ours: True for all, False for none, or those of these sections of a table, each a
# dataset's name, or `name/macro_also_test_split` for its second test images; a mapping says of which source each is.
Shown = bool | Collection[str]


@dataclass(frozen=True)
class PublishedMean:
    """Mean macro AUROC and half-width of its 95% interval, in percent, as printed."""

    table: int
    mean: float
    ci95: float


def published_mean(
    dataset: str, row: str, protocol: str, label_percent: int, global_batch_size: int = 256
) -> PublishedMean | None:
    """A value of Table 1, 8 or 9 (Huang et al., MIDL 2023); None where the paper has none.

    dataset: a source; row: a method's name. The batch size tells the tables apart, since 8 and 9 repeat columns of 1.
    """
    # Tables 8 and 9 have fewer columns than 1: what they lack is None, not the value of another batch size.
    for table, batch in GLOBAL_BATCH_SIZE.items():
        values = MEANS[table].get(dataset, {}).get(row)
        if batch == global_batch_size and values is not None and (protocol, label_percent) in COLUMNS[table]:
            mean, ci95 = values[COLUMNS[table].index((protocol, label_percent))]
            return PublishedMean(table, mean, ci95)
    return None


@dataclass(frozen=True)
class PublishedFinding:
    """A row of Tables 2 to 7: AUROC in percent by method, and the prevalence in percent.

    prevalence: as printed, but in Tables 4 and 6 that of the finding (SWAPPED).
    """

    table: int
    printed_name: str
    auroc: dict[str, float]
    prevalence: float

    @property
    def finding(self) -> str:
        """The printed name as snake_case, its spelling corrected; not which finding it really was."""
        return MISPRINTS.get(self.printed_name, self.printed_name).lower().replace(" ", "_")


def published_findings(dataset: str, label_percent: int) -> tuple[PublishedFinding, ...]:
    """The per-finding table of a dataset under FT, in printed order; empty where the paper has none."""
    return tuple(
        PublishedFinding(table, name, dict(zip(PER_FINDING_ROWS, aurocs, strict=True)), _prevalence(table, name))
        for table, column in PER_FINDING_COLUMNS.items()
        if column == (dataset, label_percent)
        for name, (aurocs, _) in PER_FINDING[table].items()
    )


def _prevalence(table: int, name: str) -> float:
    printed_at = SWAPPED.get(name, name) if table in SWAPPED_TABLES else name
    return PER_FINDING[table][printed_at][1]


def is_shown(shown: Shown, section: str) -> bool:
    """Whether the paper's values stand beside ours in this section of a table."""
    return shown if isinstance(shown, bool) else section in shown


def source_of(shown: Shown, section: str) -> str:
    """The source of a section of a table, which the paper's values are of: a dataset may have another name."""
    name = section.partition("/")[0]
    return shown.get(section, name) if isinstance(shown, Mapping) else name


def second_section(dataset: str, split: str) -> str:
    """Name of the section of a dataset's second test images (SplitRecipe.also_test). dataset: its name."""
    return f"{dataset}/{ALSO_TEST}{split}"


def shown_sections(study: Study) -> dict[str, str]:
    """Sections whose test images are the paper's, as far as it can be known -> their source.

    Elsewhere a difference would be of images, or of findings where a dataset has some of them only.

    CheXpert: the frontal images of valid.csv. NIH: a test part of 20% of the patients, by the lists or by another draw.
    """
    if not study.show_published:
        return {}
    sections = {}
    for dataset in study.datasets:
        splits = dataset.recipe.splits
        sections[dataset.instance] = dataset, splits.test
        if splits.also_test is not None:
            sections[second_section(dataset.instance, splits.also_test)] = dataset, splits.also_test
    return {name: dataset.source for name, (dataset, split) in sections.items() if _papers_images(dataset, split)}


def _papers_images(dataset: Dataset, split: str) -> bool:
    if dataset.recipe.findings is not None:
        return False
    if dataset.source == "chexpert":
        return split == "val" and dataset.recipe.frontal_only
    options = options_of(dataset.build)
    return isinstance(options, NihOptions) and split == "test" and options.split != "official"


def published_notes(study: Study) -> tuple[str, ...]:
    """What must be said of the paper's values: where they are not shown, and where the images are another draw."""
    if not study.show_published:
        return ()
    shown, notes = shown_sections(study), []
    for dataset in study.datasets:
        if dataset.source in MEANS[1] and dataset.instance not in shown:
            also = dataset.recipe.splits.also_test
            beside = also is not None and second_section(dataset.instance, also) in shown
            what = "test images" if dataset.recipe.findings is None else "findings"
            notes.append(
                f"{dataset.display}: the paper's values are of other {what} and are not shown here"
                + (
                    f"; they stand beside ours on the images of {also}, in the table beside this one."
                    if beside
                    else "."
                )
            )
        options = options_of(dataset.build)
        if dataset.instance in shown and isinstance(options, NihOptions) and options.split == "patient_70_10_20":
            notes.append(
                f"{dataset.display}: the paper's values are of another draw of a 70-10-20 split, so a difference holds "
                "that of the test images too."
            )
    return tuple(notes)
