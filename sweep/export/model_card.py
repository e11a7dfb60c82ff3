"""What should a reader of an exported encoder know: how to load it, how it was made, how well it does."""

import json

from datasets_io.fingerprint import plain
from datasets_io.storage.artefacts import Artefacts
from sweep.export.feeding import image_words
from sweep.export.library_network import library_spec, timm_features
from sweep.statistics.summaries import study_summaries
from sweep.store.snapshot import Snapshot
from sweep.studies.cell import EncoderRun
from sweep.studies.preset_notes import notes_of_row
from sweep.studies.study import BASELINE
from trainables.networks.backbones import HUGGING_FACE, OWN_BACKBONES
from trainables.recipe import BackboneSpec, PretrainRecipe


def model_card(
    data: Snapshot,
    run: EncoderRun,
    spec: BackboneSpec,
    artefacts: Artefacts,
    loads_in: tuple[str, ...],
    files: tuple[str, ...],
) -> str:
    """The text of README.md, with the front matter that model hubs read.

    artefacts: the encoder's stored files; loads_in: libraries that load the export; files: its other files.
    """
    row = next(row for row in (*data.study.rows, *data.study.hidden_rows) if row.name == run.row)
    # Hidden rows too: an encoder that others start from can be exported without being a row of the table.
    library = loads_in[0] if loads_in else "pytorch"
    lines = [
        "---",
        f"library_name: {library}",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        "- chest-x-ray",
        "- radiology",
        f"- {library_spec(spec).name.split('.')[0]}",
        "---",
        "",
        f"# {row.display}: an image encoder for chest radiographs",
        "",
        f"Encoder `{run}` (key `{run.key}`) of study `{data.study.name}` ({data.study.title}), made by radsweep.",
        "",
        *_origin(data, run, artefacts),
        "",
        "## Use",
        "",
        *_use(spec, image_words(data.study, spec, run.recipe, files), files),
        "",
        "## Results",
        "",
        *_results(data, run),
        "",
        "## Limits",
        "",
        *_limits(data, run),
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(plain(run.recipe), indent=1, sort_keys=True),
        "```",
        "",
    ]
    return "\n".join(lines)


def _origin(data: Snapshot, run: EncoderRun, artefacts: Artefacts) -> list[str]:
    if not isinstance(run.recipe, PretrainRecipe):
        return ["Not pretrained here: it is a row without a corpus."]
    result = artefacts.result
    manifest = data.manifests.get(run.corpus) if run.corpus else None
    found = f", data fingerprint `{manifest.fingerprint}`" if manifest else ""
    source = "" if run.corpus == data.study.corpus.source else f" (source {data.study.corpus.source})"
    epoch, history = result.get("best_epoch"), result.get("history")  # counted from 0; a result may lack any of these
    kept = ""
    if epoch is not None:
        kept = f", epoch {epoch + 1}{f' of {len(history)}' if history else ''} kept by validation loss"
    number = result.get("num_train_images")
    images = "" if number is None else f"{number:,} images of "
    return [
        f"Pretrained on {images}`{run.corpus}`{source}{found}; pretraining seed "
        f"{run.pretrain_seed}, global batch {run.recipe.global_batch_size}{kept}; started from row "
        f"`{run.recipe.initial}`."
    ]


def _use(spec: BackboneSpec, images: list[str], files: tuple[str, ...]) -> list[str]:
    """images: the lines of image_words."""
    text = []
    if "tokenizer.json" in files:
        text = [
            "",
            "`objective.safetensors`, `text_tower.json` and `tokenizer.json` hold the projection heads, the text tower "
            "and its tokenizer. With radsweep, texts and features of images become vectors of one space:",
            "",
            "```python",
            "from trainables.evaluation.exported_text import load_text",
            "",
            'tower = load_text("DIR")',
            'texts, images = tower.texts(["no acute process."]), tower.images(features)',
            "```",
        ]
    library = library_spec(spec)
    if spec.name in OWN_BACKBONES:
        code = [
            "from safetensors.torch import load_file",
            "from trainables.backbones import build_backbone",
            "from trainables.recipe import BackboneSpec",
            "",
            f'backbone = build_backbone(BackboneSpec("{spec.name}", {spec.image_size}), seed=0)',
            'backbone.load_state_dict(load_file("model.safetensors"))',
        ]
    elif library.name == HUGGING_FACE:
        code = ["from transformers import AutoModel", "", 'model = AutoModel.from_pretrained("DIR")']
        images = [*images, "", POOLED[dict(spec.options).get("pooling", "auto")]]
    else:
        code = _timm_code(library)
        images = [*images, "", f"Features: timm's `{timm_features(spec)}`."]
    return ["```python", *code, "```", "", *images, *text]


def _timm_code(library: BackboneSpec) -> list[str]:
    options = "".join(f", {name}={value!r}" for name, value in library.options)
    return [
        "import timm",
        "",
        f'model = timm.create_model("{library.name.split(".")[0]}", num_classes=0{options}, '
        'checkpoint_path="DIR/model.safetensors")',
        "",
        "# or",
        "from transformers import AutoModel",
        "",
        'model = AutoModel.from_pretrained("DIR")',
    ]


POOLED = {
    "auto": "Features: the model's `pooler_output`; where it has none, its class token or the mean of its last map.",
    "cls": "Features: the class token of `last_hidden_state`.",
    "mean": "Features: the mean over the patches of `last_hidden_state`, without class and register tokens.",
}


def _results(data: Snapshot, run: EncoderRun) -> list[str]:
    """Macro AUROC of this very encoder, by data set and column."""
    # Of one pretraining: the interval is over its downstream seeds, and says nothing of other pretrainings.
    of_study = study_summaries(data.study, data.plan, data.results)
    means = of_study.of_encoder(run.row, run.pretrain_seed, run.network_seed)
    displays = {dataset.instance: data.study.display_of(dataset) for dataset in data.study.datasets}
    lines = ["| data set | protocol | labels | macro AUROC (%) | sd | seeds |", "|---|---|---|---|---|---|"]
    for row, dataset, protocol, percent in sorted(means.places):
        summary = means.of(row, dataset, (protocol, percent))
        if summary.mean is None:  # nothing finished, or no finding with both classes
            continue
        interval = "" if summary.ci95 is None else f" ± {100 * summary.ci95:.2f}"
        sd = "–" if summary.sd is None else f"{100 * summary.sd:.2f}"
        lines.append(
            f"| {displays.get(dataset, dataset)} | {protocol} | {percent}% | {100 * summary.mean:.2f}{interval} | {sd} "
            f"| {summary.n} of {len(means.layout.seeds)} |"
        )
    if len(lines) == 2:  # the table's head alone
        return ["No evaluation of this encoder is finished."]
    note = (
        f"Mean over downstream seeds with its 95% {data.study.interval}-interval; findings without both classes are "
        "left out."
    )
    return [*lines, "", note]


def _limits(data: Snapshot, run: EncoderRun) -> list[str]:
    of_row, of_study = notes_of_row(data.study, run.row)
    lines = [f"- {text}" for text in of_row] + [f"- The study says of itself: {text}" for text in of_study]
    lines.append("- For research. Not a medical device; not checked for any clinical use.")
    # A baseline has seen none of the study's images.
    row = next((row for row in data.study.rows if row.name == run.row), None)
    if row is not None and row.group != BASELINE:
        lines.append("- Weights may hold traces of training images and reports: share them as the data's terms say.")
    return lines
