"""Does the benchmark of imports run, and print what every benchmark prints?"""

from benchmark_lines import figures_of

from benchmarks.imports import SIDES, SUBCOMMANDS, main
from sweep.radsweep.command import SUBCOMMANDS as OFFERED


def test_quick(capsys):
    found = figures_of(main, "imports", capsys)
    assert found.keys() == {*SIDES, "slowest_help_of_a_subcommand", "methods_proposed_to_a_shell"}
    assert {row["unit"] for row in found.values()} == {"ms"}
    # Half a second of torch's own import lies between: no clock of a busy machine closes that.
    assert found["import_sweep"]["speedup"] > 2


def test_every_subcommand_is_timed():
    assert tuple(OFFERED) == SUBCOMMANDS
