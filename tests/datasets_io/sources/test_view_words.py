"""View positions in people's own words."""

import pytest

from datasets_io.schema import VIEW_POSITIONS, known_view
from datasets_io.sources.reading.views import view_code

WORDS = {
    "PA": "PA | pa | P.A. | posteroanterior | Postero-Anterior | PA erect | CHEST PA | Chest X-Ray PA | pa view",
    "AP": "AP | a.p. | Antero posterior | AP_horizontal | portable AP | AP SUPINE | semi-erect AP",
    "LATERAL": "lateral | LAT | L | left lat | LATERAL_RIGHT | lat chest | L-LAT | XTABLE LATERAL | cross-table lat",
    "LL": "LL | ll",
    "RL": "RL",
    "FRONTAL": "frontal | Frontal view",
    "LLD": "left lateral decubitus | LLD",
    None: "oblique | PA and lateral | AP/LAT | lateral decubitus | chest | nan | 1 | COSTAL | - |  | PA?AP",
}  # fmt: skip


@pytest.mark.parametrize(("code", "words"), WORDS.items())
def test_a_word_means_one_view_position_or_none(code, words):
    assert {word.strip(): view_code(word) for word in words.split("|")} == {
        word.strip(): code for word in words.split("|")
    }


def test_what_was_known_means_what_it_meant():
    assert {word for word in VIEW_POSITIONS if view_code(word) != known_view(word)} == {"XTABLE LATERAL"}
    assert view_code(None) is None
