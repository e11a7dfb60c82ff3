"""Are damaged files counted, and is none with a checksum or an end marker taken? By a sample."""

import json

import pytest

from benchmarks.counts.damage import FEW, KINDS, SPEC, Outcome, damaged, main, outcome_of, pictures, table, zeroed
from datasets_io.pixels.decode import decode_file

PLAIN = {"DICOM, implicit", "DICOM, explicit", "DICOM, big endian"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_file_of_a_kind_that_says_where_it_ends_is_taken_with_another_picture(tmp_path, kind):
    found = outcome_of(kind, 8, tmp_path, decode_file)
    assert found.files == found.few_files == 8 and found.refused + found.same + found.wrong == 8
    assert found.cut == 0 and (found.wrong == 0 or kind in PLAIN)


def test_damages_are_made_from_kind_and_number_alone():
    kind = "PNG, 8 bits"
    made = list(damaged(kind, 12))
    assert made == list(damaged(kind, 12)) and len({data for *_, data in made}) > 20
    assert [name for _, name, _ in made] == ["cut", "rest", "part", "page"] * 3 + ["few"] * 12
    assert {seed for seed, *_ in made} == set(range(len(pictures())))
    sound = [KINDS[kind](picture) for picture in pictures()]
    for seed, name, data in made:
        assert data != sound[seed] and (len(data) < len(sound[seed])) == (name == "cut")
        if name == "few":
            assert sum(a != b for a, b in zip(data, sound[seed], strict=True)) <= FEW[1]
    assert zeroed(b"abcdef", 2, 4) == b"ab\0\0ef" and zeroed(b"abc", 1, 9) == b"a\0\0"


def test_what_is_taken_is_counted_by_its_damage(tmp_path):
    """Of a decoder that takes everything, and shows the sound picture for half of it."""
    sound = [KINDS["PNG, 8 bits"](picture) for picture in pictures()]

    def careless(path, spec):
        data = path.read_bytes()
        return decode_file(path, spec) if data in sound else shown[len(data) % 2]

    path = tmp_path / "sound.png"
    shown = {}
    for number, data in enumerate(sound[:2]):
        path.write_bytes(data)
        shown[number] = decode_file(path, SPEC)
    found = outcome_of("PNG, 8 bits", 40, tmp_path, careless)
    assert found.refused == 0 and found.same + found.wrong == 40
    assert min(found.cut, found.rest, found.part, found.page, found.few) > 0


def test_the_command_prints_a_line_for_each_kind_and_a_table(capsys):
    assert main(["--files", "4", "--only", "PNG, 16 bits"]) == 0
    printed = capsys.readouterr()
    assert Outcome(**json.loads(printed.out)) == Outcome("PNG, 16 bits", 4, 4, few_files=4)
    assert printed.err.splitlines()[2] == table([Outcome("PNG, 16 bits", 4, 4, few_files=4)]).splitlines()[2]
    assert printed.err.splitlines()[2] == "| PNG, 16 bits | 4 | 4 | 0 | 0 | 0 | 0 | 0 | 0 of 4 |"
