"""What does a preflight check ask, and what does it find? Frozen values: a check is hashed, a verdict is stored."""

from dataclasses import asdict, dataclass
from typing import Any

from datasets_io.storage.artefacts import CorruptArtefact, seal, unseal
from datasets_io.untrusted import printable_lines
from trainables.recipe import BackboneSpec, InitialRecipe, PretrainRecipe
from trainables.views.evaluation_spec import EvalSpec

# Raise it when a check finds what it did not find before, or no longer finds what it did: stored verdicts are then not
# read.
VERSION = 1
MOST = 1 << 53  # of bytes and images: no machine has as many


@dataclass(frozen=True)
class EncoderCheck:
    """Would this encoder give features of these datasets?

    recipe: whose weights are loaded. RandomInit stands for every encoder whose weights come later or are stored
    already: its network is checked, and is drawn. datasets: name and evaluation of each.
    batch_size: of a fine-tuning step; None where the backbone is never trained.
    """

    recipe: InitialRecipe
    datasets: tuple[tuple[str, EvalSpec], ...] = ()
    batch_size: int | None = None


@dataclass(frozen=True)
class PretrainingCheck:
    """Would a step of this pretraining run? image_size: side in pixels of the corpus's images.

    start: the network whose weights it starts from; step_images: images of a step on one worker.
    """

    recipe: PretrainRecipe
    image_size: int
    start: BackboneSpec | None
    step_images: int


PreflightCheck = EncoderCheck | PretrainingCheck


class Misfit(Exception):
    """It cannot be used. The message says what it has, what fits and what to write; the row is named by others.

    lasting: whether the same content would be found unfit again. False for a network or a file that may come back.
    """

    def __init__(self, message: str, lasting: bool = True):
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True)
class Verdict:
    """What a check found. misfit: the end of a sentence that begins with the row's name; None where it fits.

    warning: the same of what could not be found out. step_bytes: forecast of what a training step holds, step_images:
    of so many images. lasting: whether the same content gives the same verdict, so that it may be stored.
    """

    misfit: str | None = None
    warning: str | None = None
    step_bytes: int | None = None
    step_images: int | None = None
    lasting: bool = True

    def to_json(self, check: str) -> bytes:
        """What from_json reads, with the SHA-256 of itself. check: a name over all that decides the verdict."""
        texts = {"misfit": self.misfit, "warning": self.warning}
        shown = {name: text if text is None else printable_lines(text) for name, text in texts.items()}
        return seal({"version": VERSION, "check": check, **asdict(self), **shown})

    @staticmethod
    def from_json(data: bytes, check: str) -> "Verdict | None":
        """None for what is no verdict of this version on this check, or has no seal, as once: it is then found anew."""
        try:
            content: dict[str, Any] = unseal(data, "verdict")
            if (content.pop("version"), content.pop("check")) != (VERSION, check):
                return None
            verdict = Verdict(**content)
        except (CorruptArtefact, KeyError, TypeError):
            return None
        texts = (verdict.misfit, verdict.warning)
        numbers = (verdict.step_bytes, verdict.step_images)
        whole = all(t is None or (isinstance(t, str) and printable_lines(t) == t) for t in texts) and all(
            n is None or (type(n) is int and 0 <= n <= MOST) for n in numbers
        )
        return verdict if whole and verdict.lasting is True else None


def first_line(error: BaseException) -> str:
    """`ValueError: what went wrong`, without the lines that libraries add."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
