"""What does the report of a made-up radiograph say, and which findings does it affirm, deny or leave open?

The form is that of MIMIC-CXR: a centred title, indented headings in capitals, lines of at most 78 characters.
Every sentence comes from the signs that are in the picture; how it is put is drawn.
"""

import re
import textwrap
from dataclasses import dataclass

import numpy as np

from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN
from datasets_io.synthetic.patients import BOTH, LEFT, MIDLINE, Sign, present_findings

FAINT = 0.12  # signs of less strength may be reported as uncertain
UNSURE_SHARE = 0.5
NO_IMPRESSION_SHARE, NO_FINDINGS_SHARE = 0.05, 0.06
DOUBT_SHARE = 0.06  # of studies with a finding, in which one that is absent is left open
OMITTED_SHARE = 0.03  # of findings that the impression passes over where it names another

SIZES = (("small",), ("moderate", "moderate-sized"), ("large", "sizable"))
AMOUNTS = (("small", "minimal", "trace"), ("moderate",), ("large", "substantial"))  # of fluid and air: {amount}
GRADES = (("mild", "subtle", "slight"), ("moderate",), ("severe", "marked", "pronounced"))
ZONE_WORDS = (
    ("upper lobe", "upper lung", "upper zone"),
    ("mid lung", "mid zone"),
    ("lower lobe", "lower lung", "lung base"),
)
ADVERBS = {"slight": "slightly", "subtle": "subtly", "pronounced": "severely"}
# What becomes plural on both sides, with its verb.
PLURALS = {
    "effusion": "effusions",
    "infiltrate": "infiltrates",
    "opacity": "opacities",
    "consolidation": "consolidations",
    "nodule": "nodules",
    "mass": "masses",
    "fracture": "fractures",
}

# Noun phrases with {size}, {amount}, {grade}, {side} and {zone}; an article "a" becomes "an" where it must.
PHRASES = {
    "cardiomegaly": (
        "{grade} cardiomegaly",
        "{grade} enlargement of the cardiac silhouette",
        "a {grade}ly enlarged heart",
    ),
    "enlarged_cardiomediastinum": (
        "{grade} widening of the mediastinum",
        "a {grade}ly widened mediastinum",
        "an enlarged cardiomediastinal contour",
    ),
    "edema": (
        "{grade} pulmonary edema",
        "{grade} interstitial edema",
        "{grade} pulmonary vascular congestion with edema",
    ),
    "consolidation": (
        "a {size} {side} {zone} consolidation",
        "dense consolidation in the {side} {zone}",
        "{side} {zone} airspace consolidation",
    ),
    "pneumonia": (
        "{side} {zone} pneumonia",
        "a {side} {zone} opacity compatible with pneumonia",
        "{grade} {side} {zone} pneumonia",
    ),
    "infiltration": (
        "patchy {side} {zone} infiltrate",
        "ill-defined {side} {zone} infiltrate",
        "faint patchy infiltration of the {side} {zone}",
    ),
    "atelectasis": (
        "{side} {zone} atelectasis",
        "plate-like atelectasis in the {side} {zone}",
        "{grade} {side} linear atelectasis",
        "subsegmental atelectasis of the {side} {zone}",
    ),
    "pneumothorax": (
        "a {amount} {side} pneumothorax",
        "a {amount} {side} apical pneumothorax",
        "{amount} {side} pneumothorax",
    ),
    "effusion": (
        "a {amount} {side} pleural effusion",
        "{amount} {side} pleural effusion",
        "{amount} {side} pleural fluid",
    ),
    "nodule": ("a {side} {zone} nodule", "a {size} {side} {zone} nodule", "a rounded nodule in the {side} {zone}"),
    "mass": ("a {side} {zone} mass", "a {size} rounded {side} {zone} mass", "a mass in the {side} {zone}"),
    "emphysema": (
        "{grade} emphysema",
        "hyperinflation with flattened diaphragms suggesting emphysema",
        "{grade} emphysematous change",
    ),
    "fibrosis": (
        "{grade} {side} {zone} fibrosis",
        "reticular {side} {zone} fibrosis",
        "{grade} fibrotic change in the {side} {zone}",
    ),
    "pleural_thickening": (
        "{side} pleural thickening",
        "{grade} {side} lateral pleural thickening",
        "thickening of the {side} pleura",
    ),
    "hernia": ("a {size} hiatal hernia", "a {size} retrocardiac hiatal hernia", "a {size} hernia behind the heart"),
    "fracture": ("a {side} rib fracture", "a displaced {side} rib fracture", "a fracture of a {side} rib"),
    "support_devices": ("{device} in place", "{device} in standard position", "{device} in expected position"),
}
DEVICES = (
    ("a {side} central venous catheter", "a {side} PICC line"),
    ("an endotracheal tube", "an enteric tube"),
    ("a {side} chest wall pacemaker", "a {side} pacemaker with its lead"),
)
PRESENT = (
    "There is {np}.",
    "{np} is seen.",
    "{np} is present.",
    "{np} is noted.",
    "Note is made of {np}.",
    "The image shows {np}.",
    "{np} is identified.",
)
PRESENT_BEFORE = ("Again seen is {np}.",)  # only where there is an earlier study to compare with
UNSURE = (
    "Possible {np}.",
    "Findings may represent {np}.",
    "{np} cannot be excluded.",
    "Question of {np}.",
    "Appearance raises concern for {np}.",
)
BRIEF = ("{np}.", "{np}.", "{np} is present.", "Findings of {np}.")
BRIEF_BEFORE = ("{np}, similar to before.",)
# What a report leaves open although it is absent, by the names of the label table.
DOUBTS = {
    "pneumonia": "superimposed pneumonia",
    "edema": "early pulmonary edema",
    "pneumothorax": "a tiny pneumothorax",
    "consolidation": "developing consolidation",
    "atelectasis": "minimal atelectasis",
}
DENIALS = {
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax.", "No evidence of pneumothorax."),
    "pleural_effusion": ("No pleural effusion.", "There is no pleural effusion.", "No effusion is seen."),
    "consolidation": (
        "No focal consolidation.",
        "There is no focal consolidation.",
        "The lungs show no consolidation.",
    ),
    "edema": ("No pulmonary edema.", "There is no evidence of pulmonary edema.", "No vascular congestion or edema."),
    "cardiomegaly": ("The heart size is normal.", "The cardiac silhouette is not enlarged.", "No cardiomegaly."),
    "enlarged_cardiomediastinum": (
        "The mediastinal contour is normal.",
        "Cardiomediastinal contours are unremarkable.",
    ),
    "fracture": ("No acute fracture.", "No displaced rib fracture is identified.", "The bony structures are intact."),
    "pneumonia": ("No evidence of pneumonia.", "No convincing sign of pneumonia."),
}
NORMAL = (
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary abnormality.",
    "No acute intrathoracic process.",
    "No evidence of acute cardiopulmonary disease.",
    "No radiographic evidence for acute cardiopulmonary process.",
    "Normal chest radiograph.",
    "Unremarkable chest.",
    "Clear lungs. No acute process.",
)
CLEAR = (
    "The lungs are clear.",
    "Lungs are well expanded and clear.",
    "The lungs are clear without focal abnormality.",
    "Both lungs are clear.",
)
COMPARISONS = ("None.", "Chest radiograph ___.", "Prior study from ___.")
REASONS = ("shortness of breath", "chest pain", "fever", "cough", "recent surgery", "a fall", "weakness", "weight loss")
# The names that MIMIC's label table has for what the signs are called here.
TABLE_NAMES = {
    "effusion": "pleural_effusion",
    "pleural_thickening": "pleural_other",
    "nodule": "lung_lesion",
    "mass": "lung_lesion",
}
NOT_CLEAR = {"lung_opacity", "lung_lesion", "edema", "fibrosis", "emphysema", "pleural_effusion"}
OPAQUE = ("consolidation", "pneumonia", "infiltration", "atelectasis")


@dataclass(frozen=True)
class Report:
    """text: the whole file. mentions: finding (names of the label table) -> 1, 0 or -1; the rest is not mentioned."""

    text: str
    mentions: dict[str, int]


@dataclass(frozen=True)
class _Draft:
    """What all sections of one report agree on. unsure: signs told with a doubt; doubted: absent findings left open;
    denied: absent findings that are said to be absent, in order; compared: whether an earlier study is at hand."""

    signs: tuple[Sign, ...]
    unsure: frozenset[str]
    doubted: tuple[str, ...]
    denied: tuple[str, ...]
    compared: bool


def write_report(signs: tuple[Sign, ...], view_position: str, rng: np.random.Generator) -> Report:
    """The report of one study. view_position: "AP" or "PA". Some lack a FINDINGS or an IMPRESSION section."""
    unsure = frozenset(sign.finding for sign in signs if sign.strength < FAINT and rng.random() < UNSURE_SHARE)
    doubted = _doubted(signs, rng)
    comparison = _pick(COMPARISONS, rng) if rng.random() < 0.5 else None
    draft = _Draft(signs, unsure, doubted, _denied(signs, doubted, rng), comparison not in (None, "None."))
    # One draw for both gaps, so that no report lacks both: below 0.05 no IMPRESSION, from there to 0.11 no FINDINGS.
    gap = rng.random()
    sections = [
        ("EXAMINATION", f"CHEST ({view_position})"),
        ("INDICATION", f"___ year old {rng.choice(('man', 'woman', 'patient'))} with {rng.choice(REASONS)}."),
    ]
    if comparison:
        sections.append(("COMPARISON", comparison))
    if not NO_IMPRESSION_SHARE <= gap < NO_IMPRESSION_SHARE + NO_FINDINGS_SHARE:
        sections.append(("FINDINGS", _findings(draft, rng)))
    if gap >= NO_IMPRESSION_SHARE:
        sections.append(("IMPRESSION", _impression(draft, rng)))
    return Report(_laid_out(sections), _mentions(draft))


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _degree(value: float) -> int:
    """0, 1 or 2, by thirds of 0..1; 1.0 itself is in the last."""
    return min(2, int(value * 3))


def noun_phrase(sign: Sign, rng: np.random.Generator) -> str:
    """'a small left pleural effusion': side, size and degree are those of the sign."""
    side = "left" if sign.side == LEFT else "bilateral" if sign.side == BOTH else "right"
    phrase = _pick(PHRASES[sign.finding], rng)
    if sign.finding == "support_devices":
        phrase = phrase.replace("{device}", _device(sign))
    grade = _pick(GRADES[_degree(sign.strength if sign.finding not in MIDLINE else sign.size)], rng)
    # "{grade}ly" must be replaced before "{grade}": a dict keeps the order in which it is written.
    words = {
        "{grade}ly": ADVERBS.get(grade, f"{grade}ly"),
        "{size}": _pick(SIZES[_degree(sign.size)], rng),
        "{grade}": grade,
        "{side}": side,
        "{amount}": _pick(AMOUNTS[_degree(sign.size)], rng),
        "{zone}": _pick(ZONE_WORDS[sign.zone], rng),
    }
    for slot, word in words.items():
        phrase = phrase.replace(slot, word)
    # "a small bilateral effusion" -> "small bilateral effusions".
    if "bilateral" in phrase and phrase.startswith("a "):
        noun = next(word for word in re.findall(r"[a-z]+", phrase) if word in PLURALS)
        phrase = phrase.removeprefix("a ").replace(noun, PLURALS[noun])
    return re.sub(r"\ba ([aeiou])", r"an \1", phrase)


def _device(sign: Sign) -> str:
    """The same in every sentence; thorax.py draws the same of the three kinds."""
    words = DEVICES[sign.seed % len(DEVICES)]
    return words[sign.seed // len(DEVICES) % len(words)]


def _sentence(template: str, phrase: str) -> str:
    if set(re.findall(r"[a-z]+", phrase)) & set(PLURALS.values()):
        template = template.replace(" is", " are")
    text = template.replace("{np}", phrase)
    return text[0].upper() + text[1:]


def _doubted(signs: tuple[Sign, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """At most one absent finding that the report leaves open."""
    ill = any(sign.finding != "support_devices" for sign in signs)
    absent = tuple(finding for finding in DOUBTS if finding not in present_findings(signs))
    return (_pick(absent, rng),) if ill and absent and rng.random() < DOUBT_SHARE else ()


def _denied(signs: tuple[Sign, ...], doubted: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """Absent findings that the report says are absent, in a drawn order."""
    present = present_findings(signs)
    if present & set(OPAQUE):
        present |= {"pneumonia", "consolidation"}  # no radiologist denies these beside another opacity
    absent = [finding for finding in DENIALS if finding not in present and finding not in doubted]
    chosen = [finding for finding in absent if rng.random() < 0.5]
    return tuple(chosen[index] for index in rng.permutation(len(chosen)))


def _mentions(draft: _Draft) -> dict[str, int]:
    mentions = {**dict.fromkeys(draft.denied, NEGATIVE), **dict.fromkeys(draft.doubted, UNCERTAIN)}
    codes: dict[str, int] = {}
    # Two signs may share a name (nodule and mass are both lung_lesion): the surer one counts, positive over uncertain.
    for sign in draft.signs:
        names = [TABLE_NAMES.get(sign.finding, sign.finding)] + ["lung_opacity"] * (sign.finding in OPAQUE)
        for name in names:
            codes[name] = max(codes.get(name, UNCERTAIN), UNCERTAIN if sign.finding in draft.unsure else POSITIVE)
    if "no_finding" in present_findings(draft.signs):
        codes["no_finding"] = POSITIVE
    return {**mentions, **codes}


def _told(draft: _Draft, sign: Sign, sure: tuple[str, ...], rng: np.random.Generator) -> str:
    return _sentence(_pick(UNSURE if sign.finding in draft.unsure else sure, rng), noun_phrase(sign, rng))


def _open_questions(draft: _Draft, rng: np.random.Generator) -> list[str]:
    return [_sentence(_pick(UNSURE, rng), DOUBTS[finding]) for finding in draft.doubted]


def _findings(draft: _Draft, rng: np.random.Generator) -> str:
    sure = PRESENT + PRESENT_BEFORE * draft.compared  # a tuple times a bool: all of it, or nothing
    sentences = [_told(draft, sign, sure, rng) for sign in draft.signs] + _open_questions(draft, rng)
    if not present_findings(draft.signs) & NOT_CLEAR and not draft.doubted:
        sentences.append(_pick(CLEAR, rng))
    sentences = [sentences[index] for index in rng.permutation(len(sentences))]
    return " ".join(sentences + [_pick(DENIALS[finding], rng) for finding in draft.denied])


def _impression(draft: _Draft, rng: np.random.Generator) -> str:
    """Nearly every sign, the plainest first more often than not; a numbered list where there are several."""
    signs = draft.signs
    named = [sign for sign in signs if len(signs) == 1 or rng.random() >= OMITTED_SHARE] or list(signs[:1])
    faintness = [-sign.strength + rng.normal(0, 0.4) for sign in named]
    order = np.argsort(np.array(faintness, np.float64))
    sure = BRIEF + BRIEF_BEFORE * draft.compared
    lines = [_told(draft, named[int(index)], sure, rng) for index in order] + _open_questions(draft, rng)
    if not any(sign.finding != "support_devices" for sign in signs):
        lines.insert(0, _pick(NORMAL, rng))
    if len(lines) > 2 and rng.random() < 0.4:
        return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
    return " ".join(lines)


def _wrapped(text: str) -> list[str]:
    """Lines of at most 76 characters; a word cut at its hyphen would become two when the lines are joined again."""
    return textwrap.wrap(text, 76, break_on_hyphens=False)


def _laid_out(sections: list[tuple[str, str]]) -> str:
    """The report's text: short sections beside their heading, FINDINGS and IMPRESSION below it."""
    parts = [" " * 33 + "FINAL REPORT"]
    for name, text in sections:
        if name in ("FINDINGS", "IMPRESSION"):
            lines = [line for piece in text.split("\n") for line in _wrapped(piece)]
            parts.append(f" {name}:\n \n" + "\n".join(f" {line}" for line in lines) + "\n")
        else:
            lines = _wrapped(f"{name}:  {text}")
            parts.append("\n".join(f" {line}" for line in lines) + "\n")
    return "\n".join(parts)
