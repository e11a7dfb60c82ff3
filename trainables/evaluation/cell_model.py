"""Which network gave a finished cell's predictions: backbone and head, as far as they are stored?"""

from dataclasses import dataclass

from torch import nn

from datasets_io.storage.artefacts import CorruptArtefact, is_done, open_artefacts
from datasets_io.storage.files import ReadFiles
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.recipe import BackboneSpec
from trainables.training.checkpoint import fill, read_weights

BACKBONE, HEAD = "backbone.safetensors", "head.safetensors"
TUNED, FROZEN = "tuned", "frozen"


@dataclass(frozen=True)
class CellModel:
    """A cell's network in eval mode on the CPU. kind: `tuned`, or `frozen` = the encoder's own backbone.

    spec: of its backbone.
    """

    backbone: nn.Module
    head: nn.Linear
    kind: str
    spec: BackboneSpec


def load_backbone(files: ReadFiles, encoder_folder: str, spec: BackboneSpec) -> nn.Module:
    """An encoder's backbone in eval mode, on the CPU. Raises CorruptArtefact where its file is damaged."""
    backbone = build_backbone(spec, seed=0)  # whatever is drawn is overwritten
    fill(backbone, read_weights(open_artefacts(files, encoder_folder), BACKBONE), f"{encoder_folder}/{BACKBONE}")
    return backbone.eval()


def load_cell_model(files: ReadFiles, cell_folder: str, encoder_folder: str, spec: BackboneSpec) -> CellModel | None:
    """None where the cell is not finished, or its network was not kept.

    A probe's network is its head on the encoder's backbone. That holds where the recipe keeps batch norm in eval mode
    (linear_probe_bn_eval); where it lets statistics adapt, the adapted backbone is stored nowhere. Raises
    CorruptArtefact where a file is damaged, or of another network.
    """
    if not is_done(files, cell_folder):
        return None
    cell = open_artefacts(files, cell_folder)
    if HEAD not in cell.result["files"]:
        return None
    tensors = read_weights(cell, HEAD)
    shape = tensors["weight"].shape if "weight" in tensors else ()
    head = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Linear(1, 1)
    fill(head, tensors, f"{cell_folder}/{HEAD}")
    # A tuned backbone is stored beside its head; where there is none the head stands on the encoder's.
    tuned = BACKBONE in cell.result["files"]
    if not tuned and not is_done(files, encoder_folder):
        return None
    backbone = load_backbone(files, cell_folder if tuned else encoder_folder, spec)
    if head.in_features != (width := feature_dim(backbone)):
        what = f"{cell_folder}/{HEAD} takes {head.in_features} features, of a backbone that gives {width}"
        raise CorruptArtefact(what, advice=f"remove the folder {cell_folder} to compute it again")
    return CellModel(backbone, head.eval(), TUNED if tuned else FROZEN, spec)
