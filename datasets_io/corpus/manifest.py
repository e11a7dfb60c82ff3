"""What a built corpus holds, what it refused and what identifies it: manifest.json, written last."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datasets_io.fingerprint import fingerprint
from datasets_io.schema import NEGATIVE, PIXEL_RULES, POSITIVE, SPLITS, UNCERTAIN, Record
from datasets_io.storage.artefacts import SEAL
from datasets_io.storage.schema_version import SCHEMA_VERSION, check_schema
from datasets_io.untrusted import printable

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1  # of manifest.json; raise it when a reader of today would misread what is written
OLD_RULES = (
    "built before files with a part of zeros were refused, and 16-bit colours, EXIF orientation, DICOM padding and an"
    " unusual HighBit were read: it is used as it is; to have them, remove its folder and build again (where no file is"
    " concerned, the bytes and all results stay the same)"
)
LABEL_NAMES = {POSITIVE: "positive", NEGATIVE: "negative", UNCERTAIN: "uncertain", None: "blank"}


@dataclass(frozen=True)
class Shard:
    """One Parquet file; `path` is relative to the corpus folder, `row_groups` are rows of each group in order."""

    path: str
    split: str
    rows: int
    row_groups: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a built corpus holds and what it was made from. Its existence means that the build is complete.

    counts: {"records", "images", "rejects", "splits": {split: {"images", "studies", "patients",
    "with_impression", "without_impression"}}, "findings": {finding: {"positive", "negative",
    "uncertain", "blank"}}}, and "burned_in", "pixels", "leaks" and "reports" of datasets_io.build.side_tables, "files"
    of datasets_io.build.complete, "regions" of datasets_io.build.regions. with_impression counts images. fingerprint:
    over key and shards.
    """

    source: str
    source_version: int
    key: str
    spec: dict[str, Any]
    findings: tuple[str, ...]
    has_reports: bool
    image_size: int
    index_files: dict[str, str]
    counts: dict[str, Any]
    shards: tuple[Shard, ...]
    reject_reasons: dict[str, int]
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def shape(self) -> str:
        """Of its pictures: `square`, or `aspect`, which keep their own ratio."""
        return str(self.spec.get("shape", "square"))

    @property
    def split_sizes(self) -> dict[str, int]:
        """Split -> number of its images."""
        return {split: part["images"] for split, part in self.counts["splits"].items()}

    @property
    def pixel_rules(self) -> int:
        """The schema.PIXEL_RULES that its pictures were made by: 2 where it does not say."""
        return int(self.counts.get("pixels", {}).get("rules", 2))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Its notes, and another one where its pictures were made by earlier rules than today's."""
        return (*self.notes, OLD_RULES) if self.pixel_rules < PIXEL_RULES else self.notes

    def to_json(self) -> str:
        """Readable text, the same for the same content."""
        content = json.loads(_rendered({**dataclasses.asdict(self), SCHEMA_VERSION: MANIFEST_SCHEMA}))
        return _rendered({**content, SEAL: _seal(content)})

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """Raises ValueError where the text is no manifest, or is not as it was written, and NewerSchema.

        That of an earlier version has no seal: what its own other values do not deny is believed.
        """
        from datasets_io.corpus.manifest_values import checked_values, parsed  # here, as in artefacts.open_artefacts

        try:
            whole = parsed(text)
            check_schema(whole, MANIFEST_SCHEMA, MANIFEST)
            value = checked_values(whole)
            # JSON knows no tuples; a frozen manifest has nothing else.
            value["shards"] = tuple(
                Shard(**{**shard, "row_groups": tuple(shard["row_groups"])}) for shard in value["shards"]
            )
            value["findings"], value["notes"] = tuple(value["findings"]), tuple(map(printable, value["notes"]))
            for name in ("reject_reasons", "index_files"):
                value[name] = {printable(key): number for key, number in value[name].items()}
            manifest = Manifest(**value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"not a {MANIFEST} of this version ({error}): remove its folder and build the corpus again"
            ) from error
        if manifest.fingerprint != corpus_fingerprint(manifest.key, manifest.shards):
            raise ValueError(f"{MANIFEST} was changed by hand: its fingerprint does not fit its shards; build it again")
        if (odd := _contradiction(manifest)) is not None:
            raise ValueError(f"{MANIFEST} contradicts itself: {odd}; build it again")
        if SEAL in whole and whole.pop(SEAL) != _seal(whole):
            raise ValueError(f"{MANIFEST} was changed since it was written: its seal differs; build it again")
        return manifest


def _rendered(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 over all of it, fields of later versions included. content: as JSON gives it back."""
    return hashlib.sha256(_rendered(content).encode()).hexdigest()


def _contradiction(manifest: Manifest) -> str | None:
    """What in a manifest its own other values deny: the fingerprint is over the shards' paths and hashes alone."""
    images: Counter[str] = Counter()
    for shard in manifest.shards:
        if shard.path.partition("/")[0] != shard.split:
            return f"{shard.path} is of the split {shard.split!r}"
        if sum(shard.row_groups) != shard.rows:
            return f"{shard.path} has {shard.rows} rows, and {sum(shard.row_groups)} in its row groups"
        images[shard.split] += shard.rows
    for split, part in manifest.counts.get("splits", {}).items():
        if images and part.get("images", images[split]) != images[split]:
            return f"its {split} split has {part['images']} images, and {images[split]} in its shards"
    for name in ("source", "image_size"):
        if manifest.spec.get(name, getattr(manifest, name)) != getattr(manifest, name):
            return f"its {name} is {getattr(manifest, name)!r}, and {manifest.spec[name]!r} in its spec"
    return None


def corpus_fingerprint(key: str, shards: Iterable[Shard]) -> str:
    """12 hex digits over the key and every shard's path and sha256."""
    return fingerprint({"key": key, "shards": [[shard.path, shard.sha256] for shard in shards]})


def count_records(
    findings: tuple[str, ...], accepted: list[Record], num_records: int, num_rejects: int
) -> dict[str, Any]:
    """The counts of a manifest, from the records whose images are in the shards.

    Raises AssertionError where an image was lost or counted twice.
    """
    assert len(accepted) + num_rejects == num_records, (
        f"{len(accepted)} images + {num_rejects} rejects is not {num_records} records"
    )
    labels = [Counter(record.labels[place] for record in accepted) for place in range(len(findings))]
    return {
        "records": num_records,
        "images": len(accepted),
        "rejects": num_rejects,
        "splits": {split: _count_split([r for r in accepted if r.split == split]) for split in SPLITS},
        "findings": {
            finding: {name: labels[place][code] for code, name in LABEL_NAMES.items()}
            for place, finding in enumerate(findings)
        },
    }


def _count_split(records: list[Record]) -> dict[str, int]:
    with_impression = sum(bool(record.report_impression) for record in records)
    return {
        "images": len(records),
        "studies": len({record.study_id for record in records}),
        "patients": len({record.patient_id for record in records}),
        "with_impression": with_impression,
        "without_impression": len(records) - with_impression,
    }
