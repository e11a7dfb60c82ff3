"""Do the networks of a plan fit its study? Tried before any work, and each once: verdicts are kept in the storage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datasets_io.local_ray import named_cluster
from datasets_io.storage.files import Files
from sweep.cli.display import Display
from sweep.cli.lines import bytes_text
from sweep.engine.machine_memory import memory_of_device
from sweep.store.store import ReadStore
from sweep.store.unfit import unfit_keys
from sweep.store.verdicts import read_verdict, verdict_path, write_verdict
from sweep.studies.cell import Item
from sweep.studies.plan import Pending, Plan, pending
from sweep.studies.preflight_checks import checks_of, with_starts
from sweep.studies.study import Study
from trainables.preflight.verdict import PreflightCheck, Verdict

LARGE_STEP = 1e9  # bytes: what any machine has is not compared
ADVICE = "correct them, leave them out (--only), or go on with the other rows: --skip-unfit"


@dataclass(frozen=True)
class Preflight:
    """What was found. unfit: row -> a sentence that begins with `row NAME`, those that start from another among them.

    warnings: sentences about what could not be found out, or may not fit. memory: row -> the verdict that has the most
    bytes of a training step.
    """

    unfit: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    memory: Mapping[str, Verdict] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """All that does not fit, one line a row, and what can be done."""
        if len(self.unfit) == 1:
            return f"{next(iter(self.unfit.values()))}; {ADVICE.replace('them', 'it').replace('these', 'this')}"
        said: dict[str, list[str]] = {}  # rows that have one network, or wait for one, have one sentence
        for row, sentence in self.unfit.items():
            said.setdefault(sentence.removeprefix(f"row {row} "), []).append(row)
        rows = "\n".join(
            f"  row {names[0]} {why}" if len(names) == 1 else f"  rows {', '.join(names)}: each {why}"
            for why, names in said.items()
        )
        return f"{len(self.unfit)} rows do not fit:\n{rows}\n{ADVICE}"

    def memory_lines(self) -> list[str]:
        """One line on what training steps hold, in the largest row; none where nothing is trained."""
        if not self.memory:
            return []
        row, verdict = max(self.memory.items(), key=lambda item: item[1].step_bytes or 0)
        step = f"up to {bytes_text(verdict.step_bytes or 0)} ({row}, {verdict.step_images} images)"
        return [f"  memory of a training step in float32: {step}"]


def left_of(plan: Plan, store: ReadStore, retry_failed: bool = False) -> tuple[Pending, set[str]]:
    """What of a plan is left, and the keys of what an earlier run left out as unfit, which is part of it.

    retry_failed: what failed for another reason is left too. Damage is not looked for.
    """
    done, failed = store.states(plan.items, store.sizes())
    keys_done: set[str] = set()
    failed_items: list[Item] = []
    for item in plan.items:
        folder = store.folder(item)
        if folder in done:
            keys_done.add(item.key)
        elif folder in failed:
            failed_items.append(item)
    left_out = unfit_keys(failed_items, store)
    keys_failed = set() if retry_failed else {item.key for item in failed_items} - left_out
    return pending(plan, keys_done, keys_failed), left_out


def preflight(
    study: Study, left: Pending, store: ReadStore, display: Display, keep: bool, retry_misfits: bool = False
) -> Preflight:
    """Try every network that is left to be loaded, fed or trained. keep: write new verdicts to the storage.

    retry_misfits: try again what did not fit, too; else what a stored verdict says of it is believed.
    Raises KeyboardInterrupt where the user asked to stop.
    """
    by_row = {row: {verdict_path(check): check for check in checks} for row, checks in checks_of(study, left).items()}
    distinct = {key: check for checks in by_row.values() for key, check in checks.items()}
    verdicts, new = _verdicts(distinct, store, display, retry_misfits)
    found = {row: [verdicts[key] for key in checks] for row, checks in by_row.items()}
    if keep and isinstance(store.files, Files):
        for key in new:
            write_verdict(store.files, distinct[key], verdicts[key])
    misfits = {
        row: misfit for row, made in found.items() if (misfit := next((v.misfit for v in made if v.misfit), None))
    }
    unfit = {row: f"row {row} {misfit}" for row, misfit in with_starts(left, misfits).items()}
    fitting = {row: made for row, made in found.items() if row not in unfit}
    warnings = [f"row {row} {v.warning}" for row, made in fitting.items() for v in made if v.warning]
    memory = {
        row: max(measured, key=lambda v: v.step_bytes or 0)
        for row, made in fitting.items()
        if (measured := [v for v in made if v.step_bytes])
    }
    return Preflight(unfit, (*warnings, *_too_large(memory)), memory)


def _verdicts(
    checks: Mapping[str, PreflightCheck], store: ReadStore, display: Display, retry_misfits: bool
) -> tuple[dict[str, Verdict], Sequence[str]]:
    """Path of a check's verdict -> the verdict; and the paths of those that are new and worth keeping."""
    # The small ones take milliseconds, less than a file would. What the others need takes seconds to import.
    from trainables.preflight.check import is_small, run_check

    found: dict[str, Verdict] = {}
    small = [key for key, check in checks.items() if is_small(check)]
    for number, key in enumerate(small):
        display.bar("checking networks", number, len(small))
        found[key] = run_check(checks[key])
    if small:
        display.bar("checking networks", len(small), len(small))
    for key, check in checks.items():
        if key in found:
            continue
        known = read_verdict(store.files, check)
        if known is not None and not (retry_misfits and known.misfit):
            found[key] = known
    new = [key for key in checks if key not in found]
    if new:
        from sweep.engine.preflight_processes import run_in_processes

        def show(done: int) -> None:
            display.bar("trying encoders", done, len(new), "networks")

        made = run_in_processes([checks[key] for key in new], show)
        show(len(new))
        found |= zip(new, made, strict=True)
    return found, new


def _too_large(memory: Mapping[str, Verdict]) -> list[str]:
    """A sentence for each row whose training step may not fit on this machine, where the work is done on it."""
    large = {row: v for row, v in memory.items() if (v.step_bytes or 0) > LARGE_STEP}
    if not large or named_cluster() is not None:
        return []
    device, has = memory_of_device()
    return [
        f"row {row} needs about {bytes_text(v.step_bytes or 0)} for a training step of {v.step_images} images in "
        f"float32, and {device} has {bytes_text(has)}: a smaller batch, a gradient_cache_chunk or more workers need "
        "less, half precision about half"
        for row, v in large.items()
        if (v.step_bytes or 0) > has
    ]
