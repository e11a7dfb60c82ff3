"""Which network stands for a row and a data set in pictures: the tuned one where it is stored, else the probe's."""

from sweep.figures.view import View
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.study import Dataset, EncoderRow
from trainables.evaluation.cell_model import TUNED, CellModel, load_cell_model

PREFERRED = (("LPFT", 100), ("LP", 100))  # (protocol, label_percent), the first that is stored is taken


def first_cell(view: View, row: str, dataset: str, protocol: str, label_percent: int) -> Cell | None:
    """The cell of the first seeds; None where the study has none."""
    wanted = (row, dataset, protocol, label_percent)
    found = [c for c in view.plan.cells if (c.encoder.row, c.dataset, c.protocol, c.label_percent) == wanted]
    return min(found, key=lambda cell: (cell.encoder.pretrain_seed, cell.seed), default=None)


def first_encoder(view: View, row: str) -> EncoderRun:
    """The encoder of the first seeds: what the cells of `first_cell` stand on."""
    own = [run for run in view.plan.encoders if run.row == row and run.pretrain_seed == view.pretrain_seeds[0]]
    # A row whose network each seed draws may also have one that pretrainings start from: it has no cell.
    return min(own, key=lambda run: (run.network_seed is None, run.network_seed or 0))


def cells_of_networks(view: View) -> list[Cell]:
    """Every cell that `cell_network` may take: those of the first seeds, for each row and data set that is shown."""
    places = [
        (row.name, dataset.instance, *column) for row in view.rows for dataset in view.datasets for column in PREFERRED
    ]
    found = (first_cell(view, *place) for place in places)
    return [cell for cell in found if cell is not None]


def cell_network(view: View, row: EncoderRow, dataset: Dataset, only_tuned: bool = False) -> CellModel | None:
    """The network of LPFT, else of LP, with all labels and the first seed; None where neither is stored.

    In eval mode, on the CPU. only_tuned: not that of LP, whose backbone is the encoder's. Raises CorruptArtefact for
    damaged weights.
    """
    for protocol, percent in PREFERRED:
        cell = first_cell(view, row.name, dataset.instance, protocol, percent)
        if cell is None:
            continue
        folder, encoder = view.store.folder(cell), view.store.folder(cell.encoder)
        model = load_cell_model(view.store.files, folder, encoder, row.recipe.backbone)
        # A probe that let batch norm adapt had another backbone than the one that is stored: no picture of it.
        if model is None or (model.kind != TUNED and (only_tuned or not dataset.recipe.linear_probe_bn_eval)):
            continue
        return model
    return None
