"""What does a made-up patient have: which findings, where, how large, how plain, and what does that imply?"""

from dataclasses import dataclass, replace

import numpy as np

RIGHT, BOTH, LEFT = -1, 0, 1  # of the patient: the patient's left is on the image's right
UPPER, MID, LOWER = 0, 1, 2
LATENT_SHARE = 0.3  # of patients with heart failure, an infection, old lung disease or a stay in intensive care
# With a share of 0.3, a finding that is 2 times as common with its latent cause is 4/7 times as common without.
WITH_CAUSE, WITHOUT_CAUSE = 2.0, 4 / 7
KEPT_SHARE = 0.8  # of chronic findings that the next study of the patient shows again

CAUSES = {
    "cardiomegaly": "heart",
    "edema": "heart",
    "effusion": "heart",
    "pneumonia": "infection",
    "consolidation": "infection",
    "infiltration": "infection",
    "emphysema": "airways",
    "fibrosis": "airways",
    "pneumothorax": "airways",
    "support_devices": "care",
    "atelectasis": "care",
    "enlarged_cardiomediastinum": "care",
    "nodule": None,
    "mass": None,
    "pleural_thickening": None,
    "hernia": None,
    "fracture": None,
}
FINDINGS = tuple(CAUSES)
CHRONIC = frozenset(("cardiomegaly", "emphysema", "fibrosis", "pleural_thickening", "hernia", "nodule", "mass"))
OPACITIES = frozenset(("consolidation", "pneumonia", "infiltration", "atelectasis"))
MIDLINE = frozenset(("cardiomegaly", "enlarged_cardiomediastinum", "emphysema", "hernia"))
# Share of patients who have it on both sides, and where in the lung it likes to be (upper, mid, lower).
BOTH_SHARE = {
    "edema": 1.0,
    "effusion": 0.3,
    "atelectasis": 0.3,
    "fibrosis": 0.7,
    "pneumonia": 0.15,
    "infiltration": 0.35,
    "pleural_thickening": 0.2,
}
ZONES = {
    "effusion": (0, 0, 1),
    "pneumothorax": (1, 0, 0),
    "atelectasis": (0, 0.2, 0.8),
    "fibrosis": (0.1, 0.3, 0.6),
    "edema": (0, 1, 0),
    "pleural_thickening": (0.4, 0.4, 0.2),
    "fracture": (0.3, 0.5, 0.2),
}


@dataclass(frozen=True, slots=True)
class Sign:
    """How one finding shows. side, zone: the constants above; size, strength in 0..1 (small..large, faint..plain);
    place: two numbers in -1..1 that move it; seed: of its fine detail, the same in all images of a study."""

    finding: str
    side: int
    zone: int
    size: float
    strength: float
    place: tuple[float, float]
    seed: int


@dataclass(frozen=True)
class Population:
    """Whom a hospital sees. healthy: share of studies without a finding; prevalence: (finding, share of all)."""

    healthy: float
    prevalence: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        unknown = {finding for finding, _ in self.prevalence} - set(FINDINGS)
        if unknown:
            raise ValueError(f"unknown findings {', '.join(sorted(unknown))}; known: {', '.join(FINDINGS)}")


def draw_signs(population: Population, rng: np.random.Generator, before: tuple[Sign, ...] = ()) -> tuple[Sign, ...]:
    """The signs of one study; `before` are those of the patient's last study, of which chronic ones may stay."""
    kept = {sign.finding: sign for sign in before if sign.finding in CHRONIC and rng.random() < KEPT_SHARE}
    healthy = rng.random() < population.healthy and not kept
    causes = {cause: rng.random() < LATENT_SHARE for cause in ("heart", "infection", "airways", "care")}
    signs = []
    for finding, share in population.prevalence:
        factor = 1.0
        if cause := CAUSES[finding]:
            factor = WITH_CAUSE if causes[cause] else WITHOUT_CAUSE
        chance = min(0.95, share * factor / (1 - population.healthy))
        if finding in kept:
            signs.append(replace(kept[finding], strength=float(rng.uniform(0.3, 1))))
        elif rng.random() < chance and not healthy:
            signs.append(_draw_sign(finding, rng))
    return tuple(signs)


def _draw_sign(finding: str, rng: np.random.Generator) -> Sign:
    side = int(rng.choice((RIGHT, LEFT)))
    if finding in MIDLINE or rng.random() < BOTH_SHARE.get(finding, 0):
        side = BOTH
    return Sign(
        finding=finding,
        side=side,
        zone=int(rng.choice(3, p=ZONES.get(finding, (0.3, 0.3, 0.4)))),
        size=float(rng.random()),
        strength=float(rng.random()),
        place=(float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1))),
        seed=int(rng.integers(2**31)),
    )


def present_findings(signs: tuple[Sign, ...]) -> frozenset[str]:
    """Every finding that the signs show or imply, by the names of all three sources."""
    shown = {sign.finding for sign in signs}
    if shown & OPACITIES:
        shown.add("lung_opacity")
    if shown & {"nodule", "mass"}:
        shown.add("lung_lesion")
    if "effusion" in shown:
        shown.add("pleural_effusion")
    if "pleural_thickening" in shown:
        shown.add("pleural_other")
    if not shown - {"support_devices"}:
        shown.add("no_finding")
    return frozenset(shown)
