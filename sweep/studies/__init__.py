"""What is compared? A study file imports from here: `from sweep.studies import Study, demo`.

Names are loaded when they are asked for: whoever needs one small file of this package does not pay for torch, and a
command answers a signal before its libraries are loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets_io.synthetic.plan import SyntheticSpec
    from sweep.studies.checks import check_study
    from sweep.studies.presets import STUDIES, demo, load_study, paper, released, strict
    from sweep.studies.study import BASELINE, Dataset, EncoderRow, Study, study_fingerprint
    from sweep.studies.tunable import tuned
    from trainables.networks.heads import HeadSpec
    from trainables.networks.text import HuggingFaceText, TinyText, text_from_folder
    from trainables.objectives.barlow_twins import BarlowTwinsConfig
    from trainables.objectives.clip import ClipConfig
    from trainables.objectives.convirt import ConvirtConfig
    from trainables.objectives.joint import JointConfig, JointSettings
    from trainables.objectives.mocov2 import MocoV2Config
    from trainables.objectives.simclr import SimClrConfig
    from trainables.objectives.vicreg import VicRegConfig
    from trainables.recipe import LabelPolicy, SplitRecipe
    from trainables.views.evaluation_spec import EvalSpec
    from trainables.views.view_spec import ViewSpec

__all__ = [
    "BASELINE",
    "STUDIES",
    "BarlowTwinsConfig",
    "ClipConfig",
    "ConvirtConfig",
    "Dataset",
    "EncoderRow",
    "EvalSpec",
    "HeadSpec",
    "HuggingFaceText",
    "JointConfig",
    "JointSettings",
    "LabelPolicy",
    "MocoV2Config",
    "SimClrConfig",
    "SplitRecipe",
    "Study",
    "SyntheticSpec",
    "TinyText",
    "VicRegConfig",
    "ViewSpec",
    "check_study",
    "demo",
    "load_study",
    "paper",
    "released",
    "strict",
    "study_fingerprint",
    "text_from_folder",
    "tuned",
]
# Module -> the names that this package takes from it once they are asked for.
_HOMES = {
    "datasets_io.synthetic.plan": ("SyntheticSpec",),
    "sweep.studies.checks": ("check_study",),
    "sweep.studies.presets": ("STUDIES", "demo", "load_study", "paper", "released", "strict"),
    "sweep.studies.study": ("BASELINE", "Dataset", "EncoderRow", "Study", "study_fingerprint"),
    "sweep.studies.tunable": ("tuned",),
    # What a recipe is made of, for study files: these modules may move, this path stays.
    "trainables.networks.heads": ("HeadSpec",),
    "trainables.networks.text": ("HuggingFaceText", "TinyText", "text_from_folder"),
    "trainables.objectives.barlow_twins": ("BarlowTwinsConfig",),
    "trainables.objectives.clip": ("ClipConfig",),
    "trainables.objectives.convirt": ("ConvirtConfig",),
    "trainables.objectives.joint": ("JointConfig", "JointSettings"),
    "trainables.objectives.mocov2": ("MocoV2Config",),
    "trainables.objectives.simclr": ("SimClrConfig",),
    "trainables.objectives.vicreg": ("VicRegConfig",),
    "trainables.recipe": ("LabelPolicy", "SplitRecipe"),
    "trainables.views.evaluation_spec": ("EvalSpec",),
    "trainables.views.view_spec": ("ViewSpec",),
}


# Python calls it for a name that the module does not have (PEP 562).
def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
