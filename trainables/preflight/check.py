"""What does a check find? The one function that processes call: whatever goes wrong comes back as a verdict."""

import warnings

import torch

from trainables.networks.backbones import OWN_BACKBONES
from trainables.networks.text import TinyText
from trainables.preflight.verdict import EncoderCheck, Misfit, PreflightCheck, Verdict, first_line


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
    """Whether it is of the project's own small networks alone, which are built in milliseconds and cannot crash."""
    recipe = check.recipe
    text = getattr(recipe, "text", None)
    return recipe.backbone.name in OWN_BACKBONES and (text is None or isinstance(text, TinyText))
