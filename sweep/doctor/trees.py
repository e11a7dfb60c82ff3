"""Are the data trees complete: raw archives as they were downloaded, and shards that were built from them."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from datasets_io.build.checks import check_archive
from datasets_io.build.spec import BuildSpec, options_of
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.parts.mimic_reports import NO_REPORT
from datasets_io.sources.published import whole_sizes
from datasets_io.sources.registry import get_source
from sweep.doctor.check import FAIL, OK, WARN, Check
from sweep.store.damage import data_name
from sweep.store.shard_checks import open_sources
from sweep.store.shards import data_folders
from sweep.store.store import ReadStore
from sweep.studies.study import Study

Counts = dict[str, dict[str, int]]  # source, use or label of a build -> split -> images


def check_raw(
    raw: Mapping[str, Path], specs: Sequence[BuildSpec], uses: Mapping[str, BuildSpec] = MappingProxyType({})
) -> tuple[list[Check], Counts]:
    """The checks of each archive that was given, as a build makes them before it reads an image.

    raw: source, or name of a use in the study -> folder; uses: such a name -> how it is built. The counts, by the names
    of `raw`, are of the archives that passed.
    """
    by_name = {spec.source: spec for spec in specs} | dict(uses)
    checks: list[Check] = []
    counts: Counts = {}
    for given, folder in raw.items():
        name, spec = f"archive {given}", by_name[given] if given in by_name else BuildSpec(given)
        try:
            records = check_archive(spec, folder)
        except ArchiveError as error:
            checks.append(Check(name, FAIL, str(error), _how_to_mend(spec.source, folder)))
            continue
        counts[given] = dict(Counter(record.split for record in records))
        checks.append(_archive_check(name, spec.source, folder, records, counts[given]))
        if not any(record.report_impression or record.report_findings for record in records):
            checks += _report_checks(given, spec, folder)
    return checks, counts


def _archive_check(name: str, source: str, folder: Path, records: list[Record], counts: dict[str, int]) -> Check:
    patients = len({record.patient_id for record in records})
    text = f"{len(records):,} images of {patients:,} patients: {_split_text(counts)}"
    sizes = whole_sizes(get_source(source).published)
    if not sizes or len(records) in sizes:
        return Check(name, OK, text)
    text += f"; the whole archive lists {' or '.join(f'{size:,}' for size in sizes)}"
    return Check(name, WARN, text, _how_to_mend(source, folder) + "  (or go on with this part)")


def _report_checks(given: str, spec: BuildSpec, folder: Path) -> list[Check]:
    """A warning where an archive should have reports and has none: it may be meant for its images or labels alone."""
    said = [note for note in get_source(spec.source).notes(folder, options_of(spec)) if note.startswith(NO_REPORT)]
    mend = "put the reports there, for methods that read them  (or go on without: images and labels need none)"
    return [Check(f"reports {given}", WARN, note, mend) for note in said]


def _split_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {counts[split]:,}" for split in ("train", "val", "test") if counts.get(split))


def _how_to_mend(source: str, folder: Path) -> str:
    if source == "mimic_cxr":
        address = "https://physionet.org/files/mimic-cxr/2.1.0/"
        return f"wget -r -N -c -np -nH --cut-dirs=3 --user USER --ask-password -P {shlex.quote(str(folder))} {address}"
    if source == "csv_images":
        return f"ls {shlex.quote(str(folder))}  (the csv file's paths are relative to this folder)"
    how = get_source(source).how_to_get
    return f"unpack or copy the archive's missing files into {folder} again{f', or get it: {how}' if how else ''}"


def check_study_data(study: Study, store: ReadStore, raw: Mapping[str, Path]) -> tuple[list[Check], Counts, set[str]]:
    """What a study reads and --raw does not give: shards in the storage, or synthetic archives.

    raw: name of a use of a source -> folder. Returns the checks, the images of shards and of synthetic archives by
    label of their build, and the labels of those that are built.
    """
    # Which build is meant is decided from all archives together, or by what the storage has where one is not given.
    all_given = all(name in raw for name in study.instances)
    named = [f"{name}={raw[name]}" for name in study.instances] if all_given else []
    try:
        folders = data_folders(study, named, store)
    except ValueError as error:
        return [Check("data", FAIL, str(error), "give --raw SOURCE=DIR for the archive that is meant")], {}, set()
    checks: list[Check] = []
    counts: Counts = {}
    found = open_sources(store, folders)
    damage = {one.name: one for one in found.damage}
    for build in study.data_builds():
        label = build.label
        if label in found.manifests:
            manifest = found.manifests[label]
            counts[label] = manifest.split_sizes
        if one := damage.get(data_name(label)):
            checks.append(Check(f"shards {label}", FAIL, one.what, one.mend))
        elif label in found.manifests:
            checks.append(Check(f"shards {label}", OK, f"{folders[label]}: {_split_text(counts[label])}"))
        elif build.instance in raw:
            continue  # check_raw has checked the archive
        elif study.synthetic is not None and not raw:
            counts[label] = study.synthetic.image_counts()[build.source]
            checks.append(Check(f"data {label}", OK, f"synthetic, to be made: {_split_text(counts[label])}"))
        elif not study.can_do_without(build):
            text = f"study {study.name} reads {label}; no --raw names it and {store.shown} has no shards of it"
            how = get_source(build.source).how_to_get
            mend = f"add --raw {build.instance}=DIR{f'  (to get it: {how})' if how else ''}"
            checks.append(Check(f"data {label}", FAIL, text, mend))
    return checks, counts, set(found.manifests)
