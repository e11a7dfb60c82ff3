"""The command `python -m datasets_io.build`: its flags, what it prints and its exit codes."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()  # the imports below take a second, in which Ctrl-C would print their traceback

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from datasets_io.build.checks import TooManyRejects
from datasets_io.build.corpus import build
from datasets_io.build.shards import ORDERS
from datasets_io.build.spec import BuildSpec
from datasets_io.build.verify import verify
from datasets_io.closed_output import survive_closed_output
from datasets_io.corpus.manifest import Manifest
from datasets_io.interrupts import EXIT_INTERRUPTED, INTERRUPTS
from datasets_io.nearest import did_you_mean
from datasets_io.pixels.grey import INTENSITIES
from datasets_io.schema import MAX_RATIO, SHAPES
from datasets_io.sources.registry import SOURCES, SourceOptions, get_source
from datasets_io.storage.files import Files, file_in_the_way
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable

OK, BAD_INPUT, SOME_FAILED = 0, 2, 3


def parser() -> argparse.ArgumentParser:
    """The flags; a test freezes them."""
    flags = argparse.ArgumentParser(
        prog="python -m datasets_io.build",
        description="Turn a raw archive, as it was downloaded, into Parquet shards. Run again, it resumes.",
    )
    flags.add_argument("source", metavar="SOURCE", help=f"one of {', '.join(sorted(SOURCES))}")
    flags.add_argument("--raw", required=True, type=_value, metavar="DIR", help="the archive's folder")
    flags.add_argument(
        "--storage", required=True, type=_value, metavar="URI", help="where results are kept: a path, s3://, gs://"
    )
    flags.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="PIXELS",
        help="of a side; of the shorter one with --shape aspect (224)",
    )
    flags.add_argument(
        "--intensity",
        type=partial(_one_of, INTENSITIES),
        choices=INTENSITIES,
        default="minmax",
        help="how DICOM values become grey levels (minmax)",
    )
    flags.add_argument(
        "--option", action="append", type=_value, default=[], metavar="NAME=VALUE", help="an option of the source"
    )
    flags.add_argument(
        "--shape",
        type=partial(_one_of, SHAPES),
        choices=SHAPES,
        default="square",
        help="square, or aspect to keep each picture's ratio (square)",
    )
    flags.add_argument(
        "--order",
        type=partial(_one_of, ORDERS),
        choices=ORDERS,
        help="of the images in shards: hash for what encoders are pretrained on (mimic_cxr: hash; others: archive)",
    )
    flags.add_argument("--limit", type=int, metavar="N", help="only N images, to try things out")
    flags.add_argument(
        "--max-rejects", type=float, default=0.01, metavar="SHARE", help="of images that may be rejected (0.01)"
    )
    flags.add_argument("--verify", action="store_true", help="read all shards again and compare with the manifest")
    return flags


def _value(text: str) -> str:
    """The text of an option. Raises what argparse makes a usage error of, for one that is empty or a flag."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: give a value, or leave it out")
    if text.startswith("-"):
        raise argparse.ArgumentTypeError(f"{text!r} looks like a flag; a file or folder of that name is ./{text}")
    return text


def _one_of(allowed: Sequence[str], text: str) -> str:
    if text not in allowed:
        hint = did_you_mean(text, allowed)
        raise argparse.ArgumentTypeError(f"it is {text!r}; allowed: {', '.join(allowed)}{hint}")
    return text


def main(arguments: list[str]) -> int:
    """Run the command. Exit code: 0 complete, 2 bad input, 3 too many rejects or damaged shards, 130 interrupted."""
    survive_closed_output(goes_on=True)
    flags = parser().parse_args(arguments)
    try:
        with INTERRUPTS.interruptible():
            return _run(flags)
    except TooManyRejects as error:  # an ArchiveError, so a ValueError: it must come before that
        print(printable(without_secrets(str(error))), file=sys.stderr)
        return SOME_FAILED
    except ValueError as error:
        print(printable(without_secrets(str(error))), file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(printable(without_secrets(f"--raw or --storage cannot be used: {error}")), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        INTERRUPTS.ignore()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        INTERRUPTS.end_process()
        return EXIT_INTERRUPTED


def _run(flags: argparse.Namespace) -> int:
    options = _options(flags.source, flags.option)
    spec = BuildSpec(flags.source, flags.image_size, flags.intensity, options, flags.order, flags.shape)
    files = Files(flags.storage)
    if files.is_local and (file := file_in_the_way(files.root)) is not None:
        raise ValueError(f"--storage {files.shown}: {file} is a file; give a folder")
    with _Bar() as bar:
        manifest = build(
            spec,
            Path(flags.raw),
            files,
            limit=flags.limit,
            max_rejects=flags.max_rejects,
            progress=bar.show,
            start_ray=True,
            say=bar.say,
        )
    folder = f"data/{manifest.source}-{manifest.key}"
    print("\n".join(map(printable, summary(manifest, files.full(folder)))))
    if not flags.verify:
        return OK
    problems = verify(files, folder, manifest)
    print("\n".join(problems) or f"verified: {len(manifest.shards)} shards are as the manifest says")
    return SOME_FAILED if problems else OK


def _options(source: str, pairs: list[str]) -> SourceOptions:
    """The source's options from NAME=VALUE pairs; all of them are texts. Raises ValueError for an unknown name."""
    kind = get_source(source).options
    known = [field.name for field in dataclasses.fields(kind)]
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            allowed = ", ".join(f"{option}=..." for option in known) or "none"
            hint = did_you_mean(name, known)
            raise ValueError(f"--option {pair!r} is no option of {source}; allowed: {allowed}{hint}")
        values[name] = value
    options: SourceOptions = kind(**values)
    return options


def summary(manifest: Manifest, place: str) -> list[str]:
    """The lines that the command prints after a build: counts by split, rejects by reason, notes."""
    counts = manifest.counts
    lines = [f"{manifest.source} {manifest.fingerprint} in {place}"]
    lines.append(f"{counts['records']:,} records = {counts['images']:,} images + {counts['rejects']:,} rejects")
    for split, of_split in counts["splits"].items():
        text = f"  {split:5} {of_split['images']:>9,} images {of_split['patients']:>8,} patients"
        if manifest.has_reports:
            text += f" {of_split['without_impression']:>8,} without impression"
        lines.append(text)
    if batches := counts.get("batches"):
        pairs = [
            f"{each['expected']:g} pairs of one {owner} ({each['uniform']:g} if shuffled uniformly)"
            for owner, each in batches["pairs_of_one"].items()
        ]
        lines.append(f"a batch of {batches['batch_size']}, windows of {batches['window']:,}: {', '.join(pairs)}")
    if squeezed := counts.get("squeezed"):
        lines.append(f"{squeezed:,} images are longer than {MAX_RATIO} times their width: squeezed to that")
    lines += [f"  {count:,} x {reason}" for reason, count in manifest.reject_reasons.items()]
    return lines + [f"note: {note}" for note in manifest.remarks]


class _Bar(AbstractContextManager["_Bar"]):
    """A progress bar with images a second and the time left, on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]} images/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """A line above the bar."""
        self._progress.console.print(f"note: {sentence}", markup=False, highlight=False, soft_wrap=True)

    def show(self, done: int, total: int, text: str) -> None:
        # What an earlier build has done stands in the first call: it is progress, but no speed of this one.
        if self._task is None:
            self._task = self._progress.add_task(text, total=total, completed=done, speed="-")
            return
        self._progress.update(self._task, completed=done)
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, speed=f"{speed:,.0f}" if speed else "-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
