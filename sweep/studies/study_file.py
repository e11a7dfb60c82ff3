"""Which study does a Python file define? What goes wrong in it is a sentence with the file's line, and no traceback."""

import builtins
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
    return f"{type(error).__name__}: {text}{_meant(error, text)}" if text else type(error).__name__


def _meant(error: BaseException, text: str) -> str:
    """The nearest name to one that is not there: of a module, an object, the file, or a field of one of our classes."""
    if isinstance(error, AttributeError) and error.name is not None:
        return did_you_mean(error.name, dir(error.obj))
    if isinstance(error, NameError) and error.name is not None:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return did_you_mean(error.name, [*frame.f_locals, *frame.f_globals, *dir(builtins)])
    if found := re.match("cannot import name '(.+?)' from '(.+?)'", text):
        return did_you_mean(found[1], getattr(sys.modules.get(found[2]), "__all__", dir(sys.modules.get(found[2]))))
    if found := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", text):
        return did_you_mean(found[2], _fields_of(found[1]))
    return ""


def _fields_of(name: str) -> list[str]:
    """Of the dataclass of this name, which an error names without its module; empty where none is loaded."""
    loaded = [vars(module).get(name) for path, module in sys.modules.items() if path.startswith(PACKAGES)]
    kind = next((kind for kind in loaded if isinstance(kind, type) and is_dataclass(kind)), None)
    return [] if kind is None else [field.name for field in fields(kind)]
