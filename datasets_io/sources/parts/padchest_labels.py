"""Which of PadChest's labels make a finding: by exact names, in families of the archive's own tree of labels?

Names are compared as a whole: `pericardial effusion` is no pleural effusion, `subcutaneous emphysema` no emphysema,
`pseudonodule` and `nipple shadow` no nodule, `breast mass` and the masses of the mediastinum, the pleura and soft
tissue no mass of the lung. A label may be in two families, as `hydropneumothorax` is.
"""

from collections.abc import Mapping

from datasets_io.schema import NEGATIVE, POSITIVE

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "atelectasis": (
        "atelectasis",
        "total atelectasis",
        "lobar atelectasis",
        "segmental atelectasis",
        "laminar atelectasis",
        "round atelectasis",
        "atelectasis basal",
    ),
    "cardiomegaly": ("cardiomegaly",),
    "consolidation": ("consolidation", "air bronchogram"),
    "edema": ("pulmonary edema",),
    "emphysema": ("emphysema",),
    "fibrosis": ("pulmonary fibrosis", "post radiotherapy changes", "asbestosis signs"),
    "fracture": (
        "fracture",
        "clavicle fracture",
        "humeral fracture",
        "vertebral fracture",
        "rib fracture",
        "callus rib fracture",
    ),
    "hernia": ("hiatal hernia",),
    "infiltration": (
        "infiltrates",
        "interstitial pattern",
        "ground glass pattern",
        "reticular interstitial pattern",
        "reticulonodular interstitial pattern",
        "miliary opacities",
        "alveolar pattern",
        "consolidation",
        "air bronchogram",
    ),
    "mass": ("mass", "pulmonary mass"),
    "nodule": ("nodule", "multiple nodules"),
    "pleural_effusion": (
        "pleural effusion",
        "loculated pleural effusion",
        "loculated fissural effusion",
        "hydropneumothorax",
        "empyema",
        "hemothorax",
    ),
    "pleural_thickening": ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"),
    "pneumonia": ("pneumonia", "atypical pneumonia"),
    "pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "air_trapping": ("air trapping",),
    "aortic_atheromatosis": ("aortic atheromatosis",),
    "aortic_elongation": (
        "aortic elongation",
        "descendent aortic elongation",
        "ascendent aortic elongation",
        "aortic button enlargement",
        "supra aortic elongation",
    ),
    "bronchiectasis": ("bronchiectasis",),
    "copd_signs": ("copd signs",),
    "costophrenic_angle_blunting": ("costophrenic angle blunting",),
    "granuloma": ("granuloma", "calcified granuloma"),
    "hemidiaphragm_elevation": ("hemidiaphragm elevation",),
    "hilar_enlargement": (
        "hilar enlargement",
        "adenopathy",
        "vascular hilar enlargement",
        "pulmonary artery enlargement",
    ),
    "scoliosis": ("scoliosis",),
    "tuberculosis": ("tuberculosis",),
}
FINDINGS = tuple(FAMILIES)
# Lists with one of these say nothing of what they do not name: nothing changed since a study that is not told of, or
# there was too little to see.
SILENT = frozenset(("unchanged", "exclude", "suboptimal study"))


def codes_of(labels: frozenset[str] | None, *, absent_is_zero: bool) -> tuple[int | None, ...]:
    """A code for each of FINDINGS: 1 where a label of its family is there, else 0, or None where that is not known.

    labels: in lower case, without blanks around them; None or none at all where an image was not labelled.
    """
    if not labels:
        return (None,) * len(FINDINGS)
    absent = NEGATIVE if absent_is_zero and not labels & SILENT else None
    return tuple(absent if labels.isdisjoint(family) else POSITIVE for family in FAMILIES.values())
