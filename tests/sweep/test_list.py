"""Does the list show every registered name, so that a new one is seen by being there?"""

import json

import pytest
from typer.testing import CliRunner

from datasets_io.sources.registry import SOURCES
from sweep.list import app
from sweep.studies import STUDIES
from trainables.protocols.registry import PROTOCOLS
from trainables.registry import METHODS

REGISTRIES = {"methods": METHODS, "datasets": SOURCES, "studies": STUDIES, "protocols": PROTOCOLS}


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_name_is_listed_for_people_and_for_scripts(kind):
    rows = json.loads(invoke(kind, "--json").stdout)
    assert [next(iter(row.values())) for row in rows] == list(REGISTRIES[kind])
    shown = invoke(kind)
    assert shown.exit_code == 0 and all(name in shown.output for name in REGISTRIES[kind])


def test_a_study_is_listed_with_its_size():
    sizes = {row["study"]: (row["encoders"], row["cells"]) for row in json.loads(invoke("studies", "--json").stdout)}
    assert sizes["demo"] == (17, 650)


def test_what_can_be_tuned_is_what_tune_searches():
    rows = {row["method"]: row["can_be_tuned"] for row in json.loads(invoke("methods", "--json").stdout)}
    assert rows["clip+simclr"] == ["clip.temperature", "simclr.temperature", "c"] and rows["vicreg"] == []


def test_another_word_is_refused():
    done = invoke("objectives")
    assert done.exit_code == 2 and "methods, datasets, studies, protocols" in done.output
    assert "there is no list of 'metods'" in (near := invoke("metods").output) and "; did you mean 'methods'?" in near


def test_help_teaches():
    assert "--raw" in invoke("--help").output and "methods" in invoke("--help").output
