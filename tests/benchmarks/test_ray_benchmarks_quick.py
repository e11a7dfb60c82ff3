"""Do the benchmarks of cells and of pretraining run on a small Ray?"""

import signal

from benchmark_lines import figures_of

from benchmarks import cell, pretrain


def test_cell_quick(capsys, local_ray):
    found = figures_of(cell.main, "cell", capsys)
    end_to_end = next(line for name, line in found.items() if name.endswith("_trivial_cells_end_to_end"))
    assert end_to_end["ours"] > 0 and end_to_end["peer"] > 0
    memory = found[f"memory_of_a_process_of_{cell.FEW_JOBS}_jobs_above_one_job"]
    assert memory["ours"] <= 5 < memory["peer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Tune leaves its own


def test_pretrain_quick(capsys, local_ray):
    found = figures_of(pretrain.main, "pretrain", capsys)
    assert found["largest_difference_streamed_from_resident"]["ours"] == 0
    assert {"small_backbone_32px", "stub_of_1_ms_32px", "2_runs_of_one_epoch"} <= set(found)
    waits = found["checkpoint_of_1_MB_loop_waits"]
    assert 0 < waits["ours"] < 0.1 <= waits["peer"]
