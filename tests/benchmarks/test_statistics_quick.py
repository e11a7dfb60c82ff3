"""Does the benchmark of the intervals over patients run, and print what every benchmark prints?"""

from benchmark_lines import figures_of

from benchmarks import statistics


def test_quick(capsys):
    found = figures_of(statistics.main, "statistics", capsys)
    shares = {name: row["ours"] for name, row in found.items() if row["unit"] == "share"}
    assert all(0 <= share <= 1 for share in shares.values())
    # None where few patients are positive, and one in every test set where enough are.
    given = {name.removesuffix(": given"): share for name, share in shares.items() if name.endswith(": given")}
    assert given["8 of 300"] == given["macro of 13 findings of valid.csv"] == given["difference, 10 of 300"] == 0
    assert given["10 of 300"] == given["200 of 1000"] == given["macro of 10 findings of valid.csv"] == 1
    assert "8 of 300: mean coverage" not in shares and shares["10 of 300: mean coverage"] > 0.5
    assert found["largest_difference_500x14"]["ours"] <= 1e-12
