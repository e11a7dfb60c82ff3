"""Are names from a study, an archive or a storage text on the terminal: no markup, no control sequence, no secret?"""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from sweep.cli import display as display_module
from sweep.cli.display import Display, TableRows, fitting, rich_table
from sweep.cli.exit_codes import errors_as_sentences
from sweep.cli.lines import echo
from sweep.doctor.__main__ import show
from sweep.doctor.check import FAIL, Check

HOSTILE = ["[/bold]x", "[red]x", "[link=http://a]x", "a\x1b]0;PWNED\x07\x1b[2Jb", "a\\"]


def shown(show) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    show(console)
    return console.file.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_shows_names_as_they_are(name):
    table = TableRows(f"title {name}", ("Methods", name), ((name, "1"),))
    text = shown(lambda console: console.print(rich_table(table)))
    assert text.count(name.replace("\x1b", "\\x1b").replace("\x07", "\\x07")) == 3
    assert "PWNED" not in name or "\x1b]0" not in text


def test_a_line_obeys_its_own_markup_and_no_control_sequence(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "canary-of-me")
    text = shown(lambda console: Display(console).say("[bold]a[/bold]\nb\x1b]0;PWNED\x07 canary-of-me [/nothing]"))
    assert "a" in text and "\nb" in text and "\x1b]0" not in text and "canary" not in text


def test_an_error_obeys_none_either(capsys):
    import typer

    with pytest.raises(typer.Exit), errors_as_sentences("here", ValueError):
        raise ValueError("one\ntwo \x1b[2J\x07")
    assert capsys.readouterr().err == "error: one\ntwo \\x1b[2J\\x07\n"


def test_a_line_of_a_command_obeys_none_and_has_no_secret(capsys, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "canary-of-me")
    echo("one\ntwo \x1b[2J\u202e canary-of-me")
    echo("damaged \x9b31m", err=True)
    out, err = capsys.readouterr()
    assert out == "one\ntwo \\x1b[2J\\u202e ***\n" and err == "damaged \\x9b31m\n"


def test_no_command_prints_by_itself_what_may_come_from_a_storage():
    """JSON has its control characters written out; the version is the program's own."""
    sweep = Path(echo.__code__.co_filename).parents[1]
    own = {sweep / "cli/lines.py", sweep / "radsweep/command.py"}
    raw = re.compile(r"typer\.echo(?!\(json\.dumps)|(?<![\w.])print\((?!\s*printable_lines\()")
    found = [str(path) for path in sweep.rglob("*.py") if path not in own and raw.search(path.read_text())]
    assert found == [str(sweep / "radsweep/bash_words.py")], "which says to the shell what it was given by it"


def test_a_check_of_the_doctor_obeys_none_either(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "canary-of-me")
    text = shown(
        lambda console: show([Check("data \x1b[2J", FAIL, "has \x07 [red]", "remove \x9b canary-of-me")], console)
    )
    assert text.count("data \\x1b[2J") == 2 and text.count("has \\x07 [red]") == 2
    assert "remove \\x9b ***" in text and not {"\x07", "\x9b"} & set(text) and "\x1b[2J" not in text


ROW = ("Stand-in Init. (rendered textures, not ImageNet)", *(["61.19 ± 21.56"] * 5))
WIDE = TableRows("CheXpert", ("Methods", "LPFT", "LP", "FT (1%)", "FT (10%)", "FT (100%)"), (ROW,))


@pytest.mark.parametrize(("width", "parts"), [(60, 3), (80, 2), (120, 1), (200, 1)])
def test_a_table_on_a_narrow_terminal_is_cut_between_columns_and_never_within_a_number(width, parts):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    cut = fitting(WIDE, console)
    assert len(cut) == parts and [part.title for part in cut] == ["CheXpert", "", ""][:parts]
    assert [name for part in cut for name in part.header[1:]] == list(WIDE.header[1:])
    for part in cut:
        console.print(rich_table(part))
    text = console.file.getvalue()
    assert text.count("61.19 ± 21.56") == 5 and max(map(len, text.splitlines())) <= width
    assert "Stand-in Init." in text, "a name wraps between words"


def on_a_terminal(width: int = 80) -> Display:
    return Display(Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None))


def test_what_is_said_last_stands_below_bars_and_tables():
    with on_a_terminal() as display:
        display.tables = lambda: (WIDE,)
        display.bar("cells", 3, 3, "done", left="")
        display.doing("making the report")
        display.say_last("3 of 3 cells done; report: here")
        display.say("above")
    text = display.console.file.getvalue()
    assert text.rstrip().endswith("3 of 3 cells done; report: here") and "making the report ..." in text
    last = text.rindex("CheXpert")
    assert text.rindex("above") < last < text.rindex("3 of 3 cells done") and "making" not in text[last:]


def test_a_bar_is_one_line_at_80_columns():
    with on_a_terminal() as display:
        display.bar("pretraining", 60, 100, "%", "3 of 5 encoders done; now clip+mocov2-p0, val loss 3.750", left="")
        display.bar("all work", 36, 100, "%", left="about 12 min left")
        display.bar("ingest mimic_cxr", 1_000, 377_110, "images")
        console = Console(width=80, color_system=None, file=io.StringIO())
        console.print(display.progress)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert len(lines) == 3 and "60%, 3 of 5 encoders done; now clip+m" in lines[0] and lines[0].endswith("…")
    assert lines[1].endswith("36%, about 12 min left") and lines[2].endswith("1,000 of 377,110 images")


def test_bars_of_earlier_work_go_when_what_is_to_do_is_shown():
    with on_a_terminal() as display:
        display.bar("ingest", 5, 5, "images")
        display.bar("cells", 1, 3, "done", left="")
        display.hide_full_bars()
        assert [task.description for task in display.progress.tasks if task.visible] == ["cells"]


def test_a_pipe_is_told_what_moved(monkeypatch):
    """Every ten seconds; once a minute also that nothing did, so that silence is not taken for a stop."""
    now = [0.0]
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now[0])
    display = Display(Console(file=io.StringIO(), width=80))
    for second, done in [(0, 0), (5, 1), (11, 1), (22, 1), (60, 1), (71, 1), (90, 3), (91, 3)]:
        now[0] = float(second)
        display.bar("cells", done, 3, "done", left="")
    assert display.console.file.getvalue().splitlines() == [
        "cells: 0 of 3 done",
        "cells: 1 of 3 done",
        "cells: 1 of 3 done",
        "cells: 3 of 3 done",
    ]
    display.doing("starting Ray on this machine")
    display.doing("")
    display.say_last("the end")
    assert display.console.file.getvalue().splitlines()[-2:] == ["starting Ray on this machine", "the end"]


def test_a_terminal_is_told_how_long_something_is_waited_for(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now[0])
    display = Display(Console(file=io.StringIO(), width=80, force_terminal=True))

    def shown() -> str:
        console = Console(file=io.StringIO(), width=80)
        console.print(display._render())
        return console.file.getvalue().strip()

    display.doing("starting Ray on this machine")
    assert shown() == "starting Ray on this machine ..."
    now[0] += 12
    assert shown() == "starting Ray on this machine ... 12 s"
    display.doing("making the report")
    assert shown() == "making the report ..."
    display.doing("")
    assert shown() == ""
