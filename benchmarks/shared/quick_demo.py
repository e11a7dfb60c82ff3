"""The demo's study on archives of a few images, for a benchmark's --quick."""

from dataclasses import replace

from datasets_io.synthetic.archives import SyntheticSpec
from sweep.studies import Study, demo


def study() -> Study:
    archives = SyntheticSpec(
        corpus_train=64, corpus_val=16, chexpert_train=60, chexpert_valid=40, nih_train_val=60, nih_test=40
    )
    return replace(demo(), synthetic=archives)
