"""What did the paper print for a row and column? Reference beside our numbers, never used for anything else."""

from dataclasses import dataclass

from sweep.report.published_values import (
    COLUMNS,
    GLOBAL_BATCH_SIZE,
    MEANS,
    PER_FINDING,
    PER_FINDING_COLUMNS,
    PER_FINDING_ROWS,
)

SOURCE = "Huang et al., MIDL 2023"
# Printed so in Tables 4 and 6, and correctly in 2.
MISPRINTS = {"Enlarged Cardiomeastinum": "Enlarged Cardiomediastinum"}


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
    """A row of Tables 2 to 7: AUROC in percent by method, and the printed prevalence in percent."""

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
        PublishedFinding(table, name, dict(zip(PER_FINDING_ROWS, aurocs, strict=True)), prevalence)
        for table, column in PER_FINDING_COLUMNS.items()
        if column == (dataset, label_percent)
        for name, (aurocs, prevalence) in PER_FINDING[table].items()
    )
