"""Do bash, zsh and fish complete radsweep: subcommands, flags, and values such as names of studies and methods?"""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from installed import install

from datasets_io.sources.registry import SOURCES
from sweep.cli import completion
from sweep.list import KINDS as LISTS
from sweep.radsweep.bash_words import joined
from sweep.radsweep.command import SUBCOMMANDS
from sweep.studies import STUDIES
from sweep.studies.plan import ONLY_FIELDS
from sweep.training_free.measures import KINDS
from trainables.protocols.registry import PROTOCOLS
from trainables.registry import METHODS

# What was typed -> what is proposed for its last word.
PROPOSED = {
    "radsweep re": ["report"],
    "radsweep --vers": ["--version"],
    "radsweep run --st": ["--study", "--storage"],
    "radsweep run --study ": list(STUDIES),
    "radsweep run --dry-run --study pa": ["paper"],
    "radsweep tune --method clip+s": ["clip+simclr"],
    "radsweep list ": list(LISTS),
    "radsweep build chexpert_": ["chexpert_plus"],
    "radsweep build chexpert --shape ": ["square", "aspect"],
    "radsweep export ran": ["random"],
    "radsweep training-free --kind k": ["knn"],
    "radsweep run --only method=clip,sim": ["method=clip,simclr"],
}


def test_the_words_are_those_of_the_registries():
    assert tuple(STUDIES) == completion.STUDIES and set(completion.METHODS) == set(METHODS)
    assert set(completion.PROTOCOLS) == set(PROTOCOLS) and tuple(completion.ONLY) == ONLY_FIELDS
    assert set(completion.KINDS) == set(KINDS)
    rows = [{row.name for row in make().rows} for make in STUDIES.values()]
    assert set(completion.BASELINES) == set.intersection(*rows) - set(METHODS)
    assert completion.raw_sources("") == [f"{name}=" for name in SOURCES]


def test_values_of_only_go_on_behind_a_comma():
    assert completion.only("la") == ["label_percent="] and completion.only("seed=0,") == []
    assert completion.only("protocol=LP,F") == ["protocol=LP,FT"]
    assert completion.only("nothing=") == []


def script_of(shell: str, environment: dict[str, str]) -> str:
    """What `radsweep --show-completion` prints in that shell."""
    asked = {**environment, "_RADSWEEP_COMPLETE": f"source_{shell}"}
    return subprocess.run(["radsweep"], env=asked, capture_output=True, text=True, check=True).stdout


def answers_of(shell: list[str], script: str, environment: dict[str, str]) -> dict[str, list[str]]:
    """Of a script that prints `<typed>:` and then its proposals, one a line."""
    done = subprocess.run([*shell, "-c", script], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("radsweep ") and line.endswith(":"):
            found[line[:-1]] = []
        elif line:
            list(found.values())[-1].append(line.partition("\t")[0])  # behind the tab stands what it is
    return found


def test_bash_proposes_them(tmp_path):
    """What bash's own function puts into COMPREPLY, with the words as bash splits them at spaces."""
    environment = install(tmp_path)
    script = script_of("bash", environment)
    assert "complete -o default -F _radsweep_completion radsweep" in script  # default: files, where nothing is proposed
    for typed in PROPOSED:
        words = typed.split(" ")
        script += f"echo '{typed}:'; COMP_WORDS=({' '.join(f'{word!r}' for word in words)}); "
        script += f'COMP_CWORD={len(words) - 1}; _radsweep_completion radsweep; printf "%s\\n" "${{COMPREPLY[@]}}"\n'
    assert answers_of(["bash", "--norc"], script, environment) == PROPOSED


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("radsweep run --only method=sim", "radsweep run --only method=simclr "),
        ("radsweep run --only method=clip,sim", "radsweep run --only method=clip,simclr "),
        ("radsweep run --dry-run --study=pa", "radsweep run --dry-run --study=paper "),
        ("radsweep run --only seed=0 --study st", "radsweep run --only seed=0 --study strict "),
    ],
)
def test_bash_at_a_terminal_completes_behind_an_equals_sign(typed, completed, tmp_path):
    """There it gives what stands before and behind `=`, and `=`, as three words."""
    environment = install(tmp_path)
    (tmp_path / "bashrc").write_text(
        script_of("bash", environment) + "\nbind 'set enable-bracketed-paste off'\nPS1='ready> '\n"
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execve("/bin/bash", ["bash", "--rcfile", str(tmp_path / "bashrc"), "-i"], {**environment, "TERM": "dumb"})
    try:
        shown = _read_until(terminal, "ready> ")
        assert "ready> " in shown, shown
        os.write(terminal, f"{typed}\t".encode())
        shown = _read_until(terminal, completed)
        assert completed in shown
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def test_words_of_bash_are_whole_again():
    assert joined(["radsweep", "run", "--only", "method", "=", "cl"], 5) == (
        ["radsweep", "run", "--only", "method=cl"],
        3,
    )
    assert joined(["radsweep", "run", "--only", "method", "="], 4) == (["radsweep", "run", "--only", "method="], 3)
    assert joined(["radsweep", "run", "--study", "=", "de", "--o"], 5) == (["radsweep", "run", "--study=de", "--o"], 3)
    assert joined(["radsweep", "run", ""], 2) == (["radsweep", "run", ""], 2)
    assert joined(["radsweep", "run"], 2) == (["radsweep", "run"], 2)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_proposes_them(tmp_path):
    environment = install(tmp_path)
    script = script_of("fish", environment)
    for typed in PROPOSED:
        script += f"echo '{typed}:'; complete -C '{typed}'\n"
    found = answers_of(["fish", "--no-config"], script, environment)
    assert {typed: sorted(words) for typed, words in found.items()} == {
        typed: sorted(words) for typed, words in PROPOSED.items()
    }


def screen_of_zsh(typed: str, environment: dict[str, str], folder: Path, until: str) -> str:
    """What a terminal shows after a Tab in an interactive zsh; `typed` has one completion, or a list of them."""
    (folder / "completion.zsh").write_text(script_of("zsh", environment))
    (folder / ".zshrc").write_text(
        f"autoload -Uz compinit; compinit -u -D; source {folder}/completion.zsh; PS1='ready> '; LISTMAX=10000\n"
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execve(shutil.which("zsh") or "zsh", ["zsh", "-i"], {**environment, "ZDOTDIR": str(folder), "TERM": "dumb"})
    try:
        shown = _read_until(terminal, "ready> ")
        assert "ready> " in shown, shown
        os.write(terminal, f"{typed}\t".encode())
        return _read_until(terminal, until)
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def _read_until(terminal: int, text: str) -> str:
    shown, end = "", time.monotonic() + 60
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize("typed", ["radsweep re", "radsweep --vers", "radsweep tune --method clip+s"])
def test_zsh_completes_them(typed, tmp_path):
    (word,) = PROPOSED[typed]
    completed = f"{typed.rpartition(' ')[0]} {word} "
    assert completed in screen_of_zsh(typed, install(tmp_path), tmp_path, completed)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_lists_what_may_follow(tmp_path):
    shown = screen_of_zsh("radsweep ", install(tmp_path), tmp_path, "training-free")
    assert all(name in shown for name in SUBCOMMANDS), shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_descriptions_stand_on_one_line(shell, tmp_path):
    """fish takes each line for a proposal."""
    asked = {"COMP_WORDS": "radsweep\nrun\n--", "COMP_CWORD": "2", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    asked |= {"_TYPER_COMPLETE_ARGS": "radsweep run --", "_RADSWEEP_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(["radsweep"], env={**install(tmp_path), **asked}, capture_output=True, text=True, check=True)
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 14 and all("--" in line[:30] for line in lines), done.stdout
