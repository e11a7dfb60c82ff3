"""Encoders that need no pretraining: random, ImageNet, the demo's stand-in for it, and those made elsewhere."""

import numpy as np
import torch
from torch import Tensor, nn

from datasets_io.fingerprint import derive_seed
from datasets_io.synthetic.textures import textures_and_shapes
from trainables.encoder_source import load_source
from trainables.networks.backbones import build_backbone, feature_dim, load_imagenet
from trainables.recipe import EncoderSource, ImageNetInit, InitialRecipe, RandomInit, StandInInit
from trainables.training.checkpoint import copy_state
from trainables.training.optim import build_optimizer
from trainables.views.backbone_input import scaled
from trainables.views.render import normalise


def make_initial(recipe: InitialRecipe, seed: int) -> dict[str, Tensor]:
    """The backbone's tensors, on the CPU. `seed` is the pretraining seed: the weights are fixed by it.

    Raises ValueError where weights that the recipe names cannot be had, or are not those that it names.
    """
    if isinstance(recipe, RandomInit):
        return copy_state(build_backbone(recipe.backbone, derive_seed(seed, "random_init")))
    if isinstance(recipe, ImageNetInit):
        return copy_state(load_imagenet(recipe, derive_seed(seed, "imagenet_init")))
    if isinstance(recipe, EncoderSource):
        return copy_state(load_source(recipe))
    return _train_stand_in(recipe, seed)


def _train_stand_in(recipe: StandInInit, seed: int) -> dict[str, Tensor]:
    """A classifier of rendered textures and shapes, of which the backbone is kept."""
    size = recipe.backbone.image_size
    pixels, classes = textures_and_shapes(recipe.num_images, size, derive_seed(seed, "textures"))
    backbone = build_backbone(recipe.backbone, derive_seed(seed, "stand_in_init"))
    # The head has a stream of its own, so that another backbone does not change it.
    torch.manual_seed(derive_seed(seed, "stand_in_head"))
    head = nn.Linear(feature_dim(backbone), int(classes.max()) + 1)
    optimizer = build_optimizer(recipe.optimizer, (backbone, head))
    images, targets = torch.from_numpy(pixels), torch.from_numpy(classes)
    generator = np.random.default_rng(derive_seed(seed, "stand_in_order"))
    backbone.train()
    for _ in range(recipe.num_epochs):
        order = torch.from_numpy(generator.permutation(len(images)))
        for rows in order.split(recipe.batch_size):
            if len(rows) < 2:  # batch norm in training needs two images
                continue
            optimizer.zero_grad(set_to_none=True)
            grey, own = images[rows].float() / 255, recipe.backbone.preprocessing
            scores = head(backbone(normalise(grey) if own is None else scaled(own, grey)))
            nn.functional.cross_entropy(scores, targets[rows]).backward()
            optimizer.step()
    return copy_state(backbone)
