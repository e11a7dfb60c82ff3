"""How was an exported encoder fed, by its own preprocessing or as each data set says, and how does its card say so?"""

from dataclasses import dataclass, replace

from sweep.export.library_network import library_spec
from sweep.export.preprocessing_files import timm_fields
from sweep.studies.inputs import of_dataset
from sweep.studies.study import Dataset, Study
from trainables.networks.backbones import HUGGING_FACE, OWN_BACKBONES
from trainables.recipe import BackboneSpec, PretrainRecipe
from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


@dataclass(frozen=True)
class Feeding:
    """One way of preparing a picture. way: of one crop. Sides are in pixels.

    stored: of the squares that Pillow resized pictures to before, bilinear; None where `way` is all that is done.
    ten_crops: of the squares that a test cuts ten crops from, None where a test sees one crop.
    """

    way: Preprocessing
    stored: int | None = None
    ten_crops: int | None = None

    def __str__(self) -> str:
        before = "" if self.stored is None else f"; before, squashed to {self.stored} x {self.stored} by Pillow"
        tests = ""
        if self.ten_crops is not None:
            tests = f"; in a test the mean over ten crops of squares of {self.ten_crops} x {self.ten_crops}"
        return f"{self.way}{before}{tests}"


def feedings(study: Study, spec: BackboneSpec) -> dict[Feeding, tuple[str, ...]]:
    """Each way that a row of the study was fed -> the displays of the data sets that it was fed so, in their order.

    The first is that of the study's first data set, as of sweep.load_encoder; files can say no more than one.
    """
    found: dict[Feeding, tuple[str, ...]] = {}
    for dataset in study.datasets:
        way = _feeding(study, spec, dataset)
        found[way] = (*found.get(way, ()), dataset.display)
    return found


def _feeding(study: Study, spec: BackboneSpec, dataset: Dataset) -> Feeding:
    eval_spec = dataset.recipe.eval_spec
    ten_crops = eval_spec.test_side(spec.image_size) if eval_spec.ten_crop else None
    if spec.preprocessing is not None:
        return Feeding(spec.preprocessing, None, ten_crops)
    eval_spec = eval_spec.at_size(spec.image_size)
    way, build = of_dataset(eval_spec), study.build_read(spec, dataset).spec
    # Pictures that keep their ratio are squashed to this side as they are read (BackboneInput.fit).
    stored = build.image_size if build.shape == "square" else eval_spec.stored_size
    if stored == (way.resize or way.size):  # nothing is left to resize: Pillow's is the only one
        return Feeding(replace(way, resampler="pillow"), None, ten_crops)
    return Feeding(way, stored, ten_crops)


def image_words(study: Study, spec: BackboneSpec, recipe: object, files: tuple[str, ...]) -> list[str]:
    """The card's lines on images. files: those of the export."""
    ways = feedings(study, spec)
    first = next(iter(ways))
    lines = [f"Images: grey, {first}."]
    if len(ways) > 1:
        said = [f"`{name}`" for name in ("config.json", "preprocessor_config.json") if name in files][-1:]
        which = f"; {said[0]} has the first" if said else ""
        lines = [f"Images: grey, prepared in a way of its own for each data set{which}:", ""]
        lines += [f"- {', '.join(displays)}: {way}." for way, displays in ways.items()]
    normalised = {(way.way.mean, way.way.std) for way in ways} == {(IMAGENET_MEAN, IMAGENET_STD)}
    if isinstance(recipe, PretrainRecipe) and spec.preprocessing is None and not normalised:
        lines += ["", "Pretraining saw its views normalised by ImageNet's mean and standard deviation."]
    return lines + _not_in_files(spec, first, files)


def _not_in_files(spec: BackboneSpec, fed: Feeding, files: tuple[str, ...]) -> list[str]:
    """A sentence where the library's files cannot say all of it."""
    if spec.name in OWN_BACKBONES:
        return []
    own = fed.way
    if library_spec(spec).name == HUGGING_FACE:
        whole = "preprocessor_config.json" in files and own.resampler != "pillow" and own.rounding == "down"
        library = "transformers' own processors do"
    else:
        whole, library = timm_fields(own)[1], "timm's own transform does"
    if whole and fed.stored is None:
        return []
    return ["", f"{library} not do exactly that; prepare images as written here."]
