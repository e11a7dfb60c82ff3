"""How does an archive compare with what was published of it: is it whole, and if not, what is missing where?"""

from collections.abc import Mapping

from datasets_io.schema import SPLITS, Record
from datasets_io.sources.published import split_gaps, whole_size

# An archive that lists less than this share of the published images is no copy that broke off: it is made up, as that
# of the demo is, or a part that somebody chose. One sentence says so, and nothing is counted as missing.
A_COPY = 0.05


def published_notes(
    published: Mapping[str, int], records: list[Record], accepted: list[Record], official_split: bool = True
) -> list[str]:
    """One sentence for a manifest, "complete: 112,120 of 112,120 images" or what is missing; none without counts.

    records: what the archive lists; accepted: those of them whose pictures are in the shards. official_split: whether
    the splits are those whose counts were published.
    """
    if "images" not in published:
        return []
    listed, taken = _images(records), _images(accepted)
    wanted = whole_size(published, listed)
    found = len(accepted)
    if len(records) < A_COPY * wanted:
        return [f"made up, or a part of the archive: {len(records):,} images; {wanted:,} were published"]
    other = _other_counts(published, accepted, wanted)
    if found == wanted:
        return [f"complete: {found:,} of {wanted:,} images" + "".join(f"; but {text}" for text in other)]
    rejected = len(records) - found
    if len(records) == wanted and rejected <= published.get("broken", 0):
        broken = f"; {rejected:,} cannot be read, as {published['broken']:,} cannot in the archive as it was published"
        return [f"complete: {wanted:,} of {wanted:,} images are listed{broken}"]
    reasons = []
    if rejected:
        reasons.append(f"{rejected:,} rejected")
    if len(records) < wanted:
        reasons.append(f"{wanted - len(records):,} not listed")
    if len(records) > wanted:
        reasons.append(f"{len(records) - wanted:,} more listed than were published: is it another release?")
    gaps = split_gaps(published, taken) if official_split else []
    where = f" ({', '.join(gaps)})" if gaps else ""
    return [f"not complete: {found:,} of {wanted:,} images{where}: {', '.join(reasons)}"]


def _images(records: list[Record]) -> dict[str, int]:
    counts = dict.fromkeys(SPLITS, 0)
    for record in records:
        counts[record.split] += 1
    return counts


def _other_counts(published: Mapping[str, int], accepted: list[Record], wanted: int) -> list[str]:
    """Patients and studies that are not as many as were published; nothing where images beyond those are there."""
    if wanted != published["images"]:
        return []
    found = {
        "studies": len({record.study_id for record in accepted}),
        "patients": len({record.patient_id for record in accepted}),
    }
    return [
        f"{count:,} of {published[kind]:,} {kind}"
        for kind, count in found.items()
        if count != published.get(kind, count)
    ]
