"""Is what takes long made once for the same results, and made anew when an input or a version of it changes?"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without

import sweep
from datasets_io.storage.artefacts import publish, seal
from sweep.figures import curves, drawing, forest, training_free_panels
from sweep.figures.draw import figure_keys
from sweep.figures.drawing import Drawing
from sweep.figures.models import first_cell
from sweep.figures.own_svg import own_svg
from sweep.figures.view import View, make_view
from sweep.report.cached_parts import (
    FIGURES,
    INDEX,
    _cached_drawings,
    _cached_statistics,
    _index_of,
    cached_parts_of,
    statistics_key,
)
from sweep.report.page.page import _figure, report_page
from sweep.statistics import analysis
from sweep.statistics.comparisons import compare_methods
from sweep.statistics.summaries import study_summaries
from sweep.store.report_folder import ReportFolder
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import Store
from sweep.training_free.__main__ import _compute_and_write
from sweep.training_free.measures import items_of, means_of, rows_of, table_markdown
from tests.sweep.saved_study import NUM_IMAGES, make, save_all, save_shards


def compared(data):
    return compare_methods(study_summaries(data.study, data.plan, data.results))


def keys_of(data) -> dict[str, str]:
    view = View(data, compared(data))
    return {"statistics": statistics_key(data, view.comparisons)} | figure_keys(view)


def changed(data, other) -> set[str]:
    """Names of what a report of `other` makes anew after one of `data`."""
    before = keys_of(data)
    return {name for name, key in keys_of(other).items() if before.get(name) != key}


def write(folder: ReportFolder, extras) -> None:
    folder.write(extras.contents())


def made(data, folder):
    """What a report keeps and what it makes: the extras, and the figures that were drawn for them."""
    return cached_parts_of(data, compared(data), folder, quick=False)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A report's data, its extras, and the folder where they lie; each test changes a copy."""
    path = tmp_path_factory.mktemp("kept")
    data = data_of(path, small(("random", "imagenet")))
    folder = ReportFolder.elsewhere(str(path / "report"))
    extras = made(data, folder)
    write(folder, extras)
    return data, extras, path / "report"


@pytest.fixture
def copied(reported, tmp_path):
    shutil.copytree(reported[2], tmp_path / "report")
    return ReportFolder.elsewhere(str(tmp_path / "report"))


@pytest.fixture
def drawn(monkeypatch):
    """Names of the figures that are drawn, in order."""
    from sweep.figures import draw

    names, really = [], draw._drawn
    monkeypatch.setattr(draw, "_drawn", lambda name, *rest: names.append(name) or really(name, *rest))
    return names


def test_the_same_results_are_not_analysed_and_drawn_twice(reported, copied, drawn, monkeypatch):
    data, first, _ = reported
    monkeypatch.setattr("sweep.report.cached_parts.analyse", lambda *_, **__: pytest.fail("statistics were made again"))
    kept = made(data, copied)
    assert drawn == []
    assert kept.statistics == first.statistics and kept.notes == first.notes
    assert list(kept.drawings) == list(first.drawings)
    numbers = compared(data)
    assert report_page(data, numbers, (), (), (), (), kept) == report_page(data, numbers, (), (), (), (), first)


def test_one_result_less_makes_statistics_and_figures_anew(reported, copied):
    data, first, _ = reported
    fewer = replace(data, results=[without(data.results[0]), *data.results[1:]])
    index, numbers = _index_of(copied), compared(fewer)
    assert _cached_statistics(copied, index, statistics_key(fewer, numbers)) is None
    view = make_view(fewer.study, fewer.plan, fewer.results, fewer.store)
    assert _cached_drawings(copied, index, figure_keys(view)) == {}
    assert changed(data, fewer) == {"statistics", *first.drawings}


def test_a_file_that_is_gone_is_drawn_anew_and_the_others_are_kept(reported, copied, drawn):
    copied.files.remove(f"{FIGURES}/forest.svg")
    again = made(reported[0], copied)
    assert drawn == ["forest"] and again.drawings["forest"] == reported[1].drawings["forest"]
    copied.files.remove("intervals.csv")
    assert made(reported[0], copied).statistics == reported[1].statistics


def test_what_a_quick_report_wrote_over_is_not_taken_for_what_was_kept(reported, copied, drawn):
    data, first, _ = reported
    quick = cached_parts_of(data, compared(data), copied, quick=True)
    assert quick.contents() != {} and INDEX not in quick.contents()
    copied.write({"intervals.csv": first.statistics["intervals.csv"] + "\n"})
    assert made(data, copied).statistics == first.statistics and drawn == []
    copied.write({f"{FIGURES}/forest.png": b"cut"})
    assert made(data, copied).drawings == first.drawings and drawn == ["forest"]


def test_a_raised_version_draws_its_figure_anew_and_no_other(reported, copied, drawn, monkeypatch):
    monkeypatch.setattr(forest, "VERSION", forest.VERSION + 1)
    write(copied, made(reported[0], copied))
    assert drawn == ["forest"]
    made(reported[0], copied)
    assert drawn == ["forest"]
    monkeypatch.setattr(drawing, "VERSION", drawing.VERSION + 1)
    made(reported[0], copied)
    assert sorted(drawn[1:]) == sorted(reported[1].drawings)


def test_a_raised_version_of_the_analysis_makes_the_statistics_and_what_shows_them_anew(reported, monkeypatch):
    data = reported[0]
    before = keys_of(data)
    monkeypatch.setattr(analysis, "VERSION", analysis.VERSION + 1)
    after = keys_of(data)
    assert {name for name in after if after[name] != before[name]} == {
        "statistics",
        "label_efficiency",
        "forest",
        "critical_difference",
        "findings_ft_1",
        "findings_ft_10",
        "findings_ft_100",
    }


def test_source_text_is_no_input(reported, monkeypatch):
    """A comment in a source file draws nothing anew: no source is read to know what to keep."""
    package, read = Path(sweep.__file__).parent, []
    really = Path.read_bytes

    def watched(path):
        read.append(path)
        return really(path)

    monkeypatch.setattr(Path, "read_bytes", watched)
    before = keys_of(reported[0])
    assert not [path for path in read if package in path.parents]
    monkeypatch.setattr(curves, "__doc__", "Another comment.")
    assert keys_of(reported[0]) == before


def test_each_input_that_is_shown_is_in_the_key(reported):
    data, first, _ = reported
    study = data.study
    renamed = tuple(replace(row, display=f"{row.display}!") for row in study.rows)
    everything = {"statistics", *first.drawings}
    assert changed(data, replace(data, study=replace(study, rows=renamed))) == everything
    assert changed(data, replace(data, study=replace(study, interval="z"))) == everything
    finding = replace(data.results[0].findings[0], auroc=0.5)
    other = replace(data.results[0], findings=(finding, *data.results[0].findings[1:]))
    assert changed(data, replace(data, results=[other, *data.results[1:]])) == everything
    networks = {name for name in first.drawings if name.startswith(("feature_map", "grad_cam", "pointing"))}
    assert changed(data, replace(data, data_folders={"chexpert": "data/x"})) == {"statistics", *networks}
    assert changed(data, replace(data, raw={"chexpert": Path("x")})) == networks


def test_an_encoder_and_what_needs_no_training_are_inputs_of_their_figures(tmp_path):
    study = small(("random", "imagenet"), training_free=("knn",))
    data = data_of(tmp_path, study)
    before = keys_of(data)
    data.store.files.write(f"{data.store.folder(data.plan.encoders[0])}/result.json", b"{}")
    after = keys_of(data)
    assert {name for name in after if after[name] != before[name]} >= {"pretraining_losses", "grad_cam_chexpert"}
    assert after["forest"] == before["forest"] and after["training_free"] == before["training_free"]
    folder = training_free_panels.items_of(data)[0].folder
    data.store.files.write(f"{folder}/result.json", b"{}")
    assert keys_of(data)["training_free"] != after["training_free"]


def test_training_free_numbers_are_averaged_over_pretraining_seeds_and_draw_their_figure_alone_anew(
    tmp_path, drawn, monkeypatch
):
    study = small(("random", "imagenet", "clip"), training_free=("knn", "retrieval"), pretrain_seeds=(0, 1))
    data, report = data_of(tmp_path, study), ReportFolder.of_study(Store(str(tmp_path)), study.name)
    write(report, made(data, report))
    drawn.clear()
    for item in items_of(data):
        seed = item.run.pretrain_seed
        auroc = {"macro_auroc": None if item.run.row == "random" and seed else 0.6 + 0.1 * seed, "findings": []}
        cuts = {name: [0.1 + 0.1 * seed] * 3 for name in ("image_to_text", "text_to_image")}
        result = cuts | {"num_texts": 9, "num_images": 9} if item.kind == "retrieval" else auroc
        publish(data.store.files, item.folder, {}, result)
    monkeypatch.setattr("sweep.training_free.measures.compute_all", lambda *_: 1)  # as if it had computed those
    _compute_and_write(data, study.training_free, report)
    drawing = made(data, report).drawings["training_free"]
    assert own_svg(drawing.svg.encode()) == drawing.svg
    assert drawn == ["training_free"] and drawing.missing is None
    means = means_of(rows_of(data))
    assert means["clip", "knn", "chexpert", "macro_auroc"] == pytest.approx(0.65)
    assert drawing.numbers["knn"]["CheXpert"] == {
        row.name: means[row.name, "knn", "chexpert", "macro_auroc"] for row in study.rows
    }
    assert drawing.numbers["image_to_text"]["R@5"] == {"clip": pytest.approx(0.15)}
    assert "| CLIP | 65.00 | 65.00 | 15.00 |" in table_markdown(data)


@pytest.mark.parametrize("protocol", ["LPFT", "LP"])
def test_a_cell_whose_network_is_shown_is_an_input_though_its_aurocs_are_the_same(tmp_path, protocol):
    data = data_of(tmp_path, small(("random", "imagenet")))
    shown = first_cell(View(data, compared(data)), "imagenet", "chexpert", protocol, 100)
    place = shown.encoder, shown.dataset, protocol, 100
    same = [c for c in data.plan.cells if (c.encoder, c.dataset, c.protocol, c.label_percent) == place]
    hidden = next(cell for cell in same if cell.seed != shown.seed)
    networks = {name for name in keys_of(data) if name.startswith(("feature_map", "grad_cam", "pointing"))}
    assert len(networks) > 3
    for weights in ("head.safetensors", "backbone.safetensors"):  # computed with other weights, then with more of them
        for cell, expected in ((hidden, set()), (shown, networks)):
            before = keys_of(data)
            sealed = seal({"files": {weights: {"path": weights, "sha256": "0" * 64}}})
            data.store.files.write(f"{data.store.folder(cell)}/result.json", sealed)
            after = keys_of(data)
            assert {name for name in after if after[name] != before[name]} == expected


def test_an_index_of_an_older_form_keeps_nothing(reported, copied, drawn):
    older = '{"made_from": "abc", "statistics": [], "notes": [], "figures": [{"name": "forest"}]}'
    copied.write({INDEX: older})
    again = made(reported[0], copied)
    assert "forest" in drawn and again.statistics == reported[1].statistics


@pytest.mark.parametrize("text", ["[]", "null", "{", "[" * 100_000, b"\xff"])
def test_an_index_that_no_report_has_written_keeps_nothing(copied, text):
    copied.write({INDEX: text})
    assert _index_of(copied) == {}


@pytest.mark.parametrize(
    "change", [{"statistics": ["../../../mine.csv"]}, {"statistics": 7}, {"statistics": []}, {"notes": [1]}]
)
def test_an_index_with_values_of_another_kind_keeps_no_statistics(copied, change):
    index = json.loads(copied.read(INDEX))
    assert _cached_statistics(copied, _index_of(copied), index["statistics_key"])
    copied.write({INDEX: json.dumps(index | change)})
    assert _cached_statistics(copied, _index_of(copied), index["statistics_key"]) is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: b"method,dataset\nclip,x\n",
        lambda text: b"",
        lambda text: b"\xff" + text,
        lambda text: text.replace(b"imagenet", b"image\x1bnet"),
        lambda text: text.replace(b"imagenet", "image\u202enet".encode()),
        lambda text: text.replace(b",1,", b",one,"),
    ],
)
def test_statistics_of_another_form_are_made_anew_also_where_their_digest_fits(reported, copied, drawn, harm):
    name = "intervals.csv"
    content, index = harm(copied.read(name)), json.loads(copied.read(INDEX))
    assert content != copied.read(name)
    index["files"][name] = hashlib.sha256(content).hexdigest()
    copied.write({name: content, INDEX: json.dumps(index)})
    assert made(reported[0], copied).statistics == reported[1].statistics


def test_a_study_of_other_results_shares_no_key(tmp_path):
    study = small(("random", "imagenet"))
    plan = plan_of(study)
    half = [without(r) if r.seed else r for r in results_of(study, plan)]
    assert "forest" in changed(data_of(tmp_path, study), data_of(tmp_path, study, half, plan))


@pytest.fixture
def saved(tmp_path):
    """A snapshot with predictions and shards in its storage, and the folder of its report."""
    made_up = make(tmp_path / "storage", methods=("imagenet", "clip"))
    save_all(made_up)
    folder = save_shards(made_up, ["F", "M"] * (NUM_IMAGES // 2), [40] * NUM_IMAGES, ["PA"] * NUM_IMAGES)
    origin = Origin("saved", made_up.store.uri)
    data = Snapshot(
        made_up.study, made_up.plan, made_up.results(), {}, made_up.store, origin, data_folders={"chexpert": folder}
    )
    return data, ReportFolder.elsewhere(str(tmp_path / "report"))


def damaged(data, paths) -> dict[str, bytes]:
    """Cut these files of the storage short; path -> what was in each."""
    before = {path: data.store.files.read(path) for path in paths}
    for path, content in before.items():
        data.store.files.write(path, content[:40])
    return before


def restore(data, before) -> None:
    for path, content in before.items():
        data.store.files.write(path, content)


def paths_of(data, which) -> list[str]:
    if which == "predictions":
        folders = [data.store.folder(cell) for cell in data.plan.cells]
        return [path for folder in folders for path in data.store.files.list(folder) if path.endswith(".parquet")]
    return [path for path in data.store.files.list(data.data_folders["chexpert"]) if path.endswith(which)]


@pytest.mark.parametrize("which", ["predictions", ".parquet", "manifest.json"])
def test_statistics_that_lacked_what_could_not_be_read_are_made_anew_once_it_can_be(saved, which):
    data, folder = saved
    paths = paths_of(data, which)
    assert paths
    before = damaged(data, paths)
    broken = made(data, folder)
    assert any("cannot be read" in note or "that can be read" in note for note in broken.notes)
    assert broken.statistics["subgroups.csv"].count("\n") == 1 and broken.statistics_key is None
    write(folder, broken)
    restore(data, before)
    mended = made(data, folder)
    assert mended.statistics["subgroups.csv"].count("\n") > 1 and mended.statistics_key is not None
    assert not [note for note in mended.notes if "read" in note]
    write(folder, mended)
    assert _cached_statistics(folder, _index_of(folder), mended.statistics_key) == mended.statistics


def test_a_figure_that_failed_is_drawn_anew_and_one_with_nothing_to_show_is_not(reported, copied, drawn, monkeypatch):
    data, first, _ = reported
    really = forest.draw

    def failing(view):
        raise OSError("the storage is away")

    monkeypatch.setattr(forest, "VERSION", forest.VERSION + 1)
    monkeypatch.setattr(forest, "draw", failing)
    broken = made(data, copied)
    assert broken.drawings["forest"].missing.startswith("Drawing failed: OSError: the storage is away")
    assert [name for name, one in broken.drawings.items() if one.failed] == ["forest"]
    write(copied, broken)
    monkeypatch.setattr(forest, "draw", really)
    drawn.clear()
    mended = made(data, copied)
    assert drawn == ["forest"] and mended.drawings["forest"] == first.drawings["forest"]
    write(copied, mended)
    drawn.clear()
    made(data, copied)
    assert drawn == [] and first.drawings["pretraining_losses"].missing


ACTIVE = [
    "<script>alert(1)</script>",
    '<a href="javascript:x()"/>',
    '<g onload = "x()"/>',
    '<s:script xmlns:s="http://www.w3.org/2000/svg">alert(1)</s:script>',
    '<a href="java&#x73;cript:x()"/>',
    '<?xml-stylesheet href="data:text/xsl,x"?>',
    "<script>\0</script>",
]


@pytest.mark.parametrize("active", ACTIVE)
def test_a_kept_figure_with_a_script_is_drawn_anew_also_where_its_digest_fits(reported, copied, drawn, active):
    name = f"{FIGURES}/forest.svg"
    svg = copied.read(name).decode().replace("</svg>", f"{active}</svg>")
    index = json.loads(copied.read(INDEX))
    index["files"][name] = hashlib.sha256(svg.encode()).hexdigest()
    copied.write({name: svg})
    copied.write({INDEX: json.dumps(index)})
    assert made(reported[0], copied).drawings == reported[1].drawings and drawn == ["forest"]


def test_figures_are_images_of_the_page_and_only_its_own_script_may_run(reported):
    import base64
    import re

    data, extras, _ = reported
    forest = replace(extras.drawings["forest"], svg='<svg onload="alert(1)"><script>alert(1)</script></svg>')
    hostile = replace(extras, drawings={**extras.drawings, "forest": forest})
    page = report_page(data, compared(data), (), (), (), (), hostile)
    assert (
        "alert(1)" not in page
        and "<svg" not in page
        and page.count("<img ") == sum(drawing.missing is None for drawing in extras.drawings.values())
    )
    policy = re.search(r"script-src '(sha256-[^']+)'", page)[1]
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    assert policy == "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def test_a_small_figure_is_not_enlarged_beyond_half_as_much_again():
    def shown(points: str) -> str:
        return str(_figure(Drawing("a", "A", "what it shows", f'<svg xmlns="x" width="{points}pt">'))["picture"])

    assert '<img alt="A" style="max-width: 400px" src="' in shown("200.4")
    assert '<img alt="A" src="' in shown("many") and '<img alt="A" src="' in shown("9" * 20)
