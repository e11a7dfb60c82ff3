"""Which study does a Python file define? What goes wrong in it is a sentence with the file's line, and no traceback."""

import re
import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

from datasets_io.nearest import did_you_mean
from sweep.studies.study import Study

PACKAGES = ("datasets_io.", "trainables.", "sweep.")  # whose classes a study file makes and replaces


def study_of_file(name: str) -> Study:
    """What study() of a file returns; nothing of it is checked yet. Raises ValueError with the file and the line."""
    path = Path(name).expanduser()
    if path.is_dir():
        raise ValueError(f"study file {name} is a folder: give a Python file that defines study()")
    if not path.is_file():
        raise ValueError(f"study file {name} does not exist{_near(path)}")
    with _sentences(name, path):
        made = runpy.run_path(str(path)).get("study")
    if not callable(made):
        raise ValueError(f"study file {name} must define a function study() that returns sweep.studies.Study")
    with _sentences(name, path):
        study = made()
    if not isinstance(study, Study):
        hint = ": end it with `return`" if study is None else ""
        raise ValueError(f"study() in {name} returned a {type(study).__name__}, not a sweep.studies.Study{hint}")
    return study


def _near(path: Path) -> str:
    """The file that may have been meant, where its folder has one of a similar name."""
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    return did_you_mean(path.name, (other.name for other in path.parent.glob("*.py")))


@contextmanager
def _sentences(name: str, path: Path) -> Iterator[None]:
    """Whatever the file's code raises as a ValueError of one sentence."""
    try:
        yield
    # All of it is the user's code: also its exit() must not end the command without a word.
    except (Exception, SystemExit) as error:
        line = _line(error, path)
        place = f"study file {name}" if line is None else f"study file {name}, line {line}"
        raise ValueError(f"{place}: {_said(error)}") from error


def _line(error: BaseException, path: Path) -> int | None:
    """The file's line that led to an error, the innermost one; None where no line did, as where it is no text."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it ends the command (exit or sys.exit); let study() return the study instead"
    text = " ".join(str(error).split())
    if isinstance(error, ValueError) and text and not isinstance(error, UnicodeError):
        return text  # a sentence of ours, or of whoever wrote the file
    if isinstance(error, ModuleNotFoundError):
        return f"{text}: install it, or name the folder of your own modules in PYTHONPATH"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    # Python knows the nearest name of a module or a variable, and tells it where it prints a traceback.
    if meant := re.search(r"\. Did you mean: ('[^']+')\?", _printed(error)):
        return f"{type(error).__name__}: {text}; did you mean {meant[1]}?"
    return f"{type(error).__name__}: {text}{_nearest_field(text)}" if text else type(error).__name__


def _printed(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error).format_exception_only())


def _nearest_field(text: str) -> str:
    """For `Study.__init__() got an unexpected keyword argument 'seed'`: the field that is nearest to it."""
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", text)
    if found is None:
        return ""
    # The text names the class alone: one of the modules that are loaded has it.
    loaded = [module for name, module in sys.modules.items() if name.startswith(PACKAGES)]
    kind = next((vars(module)[found[1]] for module in loaded if found[1] in vars(module)), None)
    known = [field.name for field in fields(kind)] if isinstance(kind, type) and is_dataclass(kind) else []
    return did_you_mean(found[2], known)
