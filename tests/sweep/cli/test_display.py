"""Are names from a study, an archive or a storage text on the terminal: no markup, no control sequence, no secret?"""

import io

import pytest
from rich.console import Console

from sweep.cli.display import Display, TableRows, rich_table
from sweep.cli.exit_codes import errors_as_sentences

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
