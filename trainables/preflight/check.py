"""What does a check find? The one function that processes call: whatever goes wrong comes back as a verdict."""

import warnings

import torch

from trainables.networks.backbones import OWN_BACKBONES
from trainables.networks.text import TinyText
from trainables.preflight.verdict import EncoderCheck, Misfit, PreflightCheck, PretrainingCheck, Verdict, first_line

SMALL_SIDE = 256


def run_check(check: PreflightCheck) -> Verdict:
    """The verdict on a check. Never raises: what no check foresees is a misfit in its own words."""
    from trainables.preflight.encoder import check_encoder

    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # what the caller draws stays as it was
            warnings.simplefilter("ignore")
            if isinstance(check, EncoderCheck):
                return check_encoder(check)
            from trainables.preflight.pretraining import check_pretraining

            return check_pretraining(check)
    except Misfit as misfit:
        return Verdict(misfit=str(misfit), lasting=misfit.lasting)
    except MemoryError:
        return Verdict(warning="could not be tried: this machine has not enough memory for it", lasting=False)
    except Exception as error:
        return Verdict(misfit=f"cannot be used: {first_line(error)}", lasting=False)


def is_small(check: PreflightCheck) -> bool:
    """Whether it is of the project's own small networks alone, which are built in milliseconds and cannot crash.

    On small images: of large ones any network takes seconds, and gigabytes that only a process of its own may take.
    """
    recipe = check.recipe
    text = getattr(recipe, "text", None)
    own_networks = recipe.backbone.name in OWN_BACKBONES and (text is None or isinstance(text, TinyText))
    return own_networks and max(_sides(check)) <= SMALL_SIDE


def _sides(check: PreflightCheck) -> list[int]:
    """Of the pictures that a check makes, in pixels."""
    own = check.recipe.backbone.preprocessing
    sides = [check.recipe.backbone.image_size, 0 if own is None else own.resize or own.size]
    if isinstance(check, PretrainingCheck):
        return [*sides, check.image_size]
    return [*sides, *(spec.at_size(check.recipe.backbone.image_size).stored_size for _, spec in check.datasets)]
