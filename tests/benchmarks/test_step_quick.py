"""Does the benchmark of training steps run, with both sides' first losses equal?"""

import pytest
import torch
from benchmark_lines import figures_of

from benchmarks.shared.made_up_corpus import made_up_corpus
from benchmarks.step import QUICK, check_first_loss, main, recipe_of
from datasets_io.corpus.read import CorpusBatch
from trainables.pretraining.task import Pretraining
from trainables.recipe import Resources


def test_quick(capsys):
    found = figures_of(main, "step", capsys)
    for method in ("simclr", "clip", "vicreg"):
        name = f"{method}_demo_cnn_16px_batch_8"
        assert found[name]["peer"] > 0 and found[f"{name}_relative_difference_of_the_first_loss"]["ours"] < 1e-4


def test_another_loss_is_refused():
    corpus, recipe = made_up_corpus(16, 16), recipe_of("simclr", QUICK)
    task = Pretraining(recipe, 0, corpus, Resources(), None, torch.device("cpu"))
    task.model.train()
    batch = task.make_batch(CorpusBatch(corpus.val_pixels[:8], corpus.train.reports[:8]), "views", 0, 8)
    with pytest.raises(ArithmeticError, match="vicreg: our loss is"):
        check_first_loss("vicreg", task, batch)
