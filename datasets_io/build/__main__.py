"""The command `python -m datasets_io.build`: its flags, what it prints and its exit codes."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()  # the imports below take a second, in which Ctrl-C would print their traceback

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from datasets_io.build.checks import TooManyRejects
from datasets_io.build.corpus import build
from datasets_io.build.shards import ORDERS
from datasets_io.build.spec import BuildSpec
from datasets_io.build.verify import absent_shards, verify
from datasets_io.command_line import DEFAULT_STORAGE, Storage, WorkingCommand
from datasets_io.corpus.manifest import MANIFEST, Manifest
from datasets_io.interrupts import EXIT_INTERRUPTED, INTERRUPTS
from datasets_io.nearest import did_you_mean
from datasets_io.pixels.grey import INTENSITIES
from datasets_io.schema import MAX_RATIO, SHAPES, SPLITS
from datasets_io.sources.registry import SOURCES, SourceOptions, get_source
from datasets_io.storage.disk import in_the_way
from datasets_io.storage.files import Files
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable

OK, BAD_INPUT, SOME_FAILED = 0, 2, 3


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _one_of(allowed: Sequence[str]) -> Callable[[str | None], str | None]:
    """For an option: raises a usage error for a word that is not allowed."""

    def checked(text: str | None) -> str | None:
        if text is not None and text not in allowed:
            hint = did_you_mean(text, allowed)
            raise typer.BadParameter(f"it is {text!r}; allowed: {', '.join(allowed)}{hint}")
        return text

    return checked


def _option(allowed: Sequence[str], about: str, default: str | bool = True) -> Any:
    """An option whose value is one of a few words, which --help and a shell name. default: how it is shown."""

    def proposed(incomplete: str) -> list[str]:
        return [word for word in allowed if word.startswith(incomplete)]

    return typer.Option(
        metavar="|".join(allowed), callback=_one_of(allowed), autocompletion=proposed, help=about, show_default=default
    )


def _sources(incomplete: str) -> list[str]:
    return [name for name in sorted(SOURCES) if name.startswith(incomplete)]


@app.command(
    cls=WorkingCommand,
    epilog="Exit codes: 0 complete; 2 bad input; 3 too many rejects, or damaged shards; 130 interrupted. For example: "
    "python -m datasets_io.build chexpert --raw /data/CheXpert-v1.0 --storage /shared/results",
)
def build_command(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", autocompletion=_sources, help=f"One of {', '.join(sorted(SOURCES))}.")
    ],
    raw: Annotated[str, typer.Option(metavar="DIR", help="The archive's folder.")],
    storage: Storage = DEFAULT_STORAGE,
    image_size: Annotated[
        int, typer.Option(metavar="PIXELS", help="Of a side; of the shorter one with --shape aspect.")
    ] = 224,
    intensity: Annotated[str, _option(INTENSITIES, "How DICOM values become grey levels.")] = "minmax",
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the source. Repeat for each.")
    ] = None,
    shape: Annotated[str, _option(SHAPES, "Square, or aspect to keep each picture's ratio.")] = "square",
    order: Annotated[
        str | None,
        _option(
            ORDERS,
            "Of the images in shards: hash for what encoders are pretrained on.",
            "hash for mimic_cxr, archive for others",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Only N images, to try things out.")] = None,
    max_rejects: Annotated[float, typer.Option(metavar="SHARE", help="Of images that may be rejected, 0 to 1.")] = 0.01,
    check: Annotated[
        bool, typer.Option("--verify", help="Read all shards again and compare with the manifest.")
    ] = False,
) -> None:
    """Turn a raw archive, as it was downloaded, into Parquet shards. Run again, it resumes."""
    with _errors_as_sentences():
        spec = BuildSpec(source, image_size, intensity, _options(source, option or []), order, shape)
        raise typer.Exit(_build(spec, Path(raw), storage, limit, max_rejects, check))


def main(arguments: list[str]) -> int:
    """Run the command. Exit code: 0 complete, 2 bad input, 3 too many rejects or damaged shards, 130 interrupted."""
    try:
        app(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    return OK


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """An exit code and a sentence instead of a traceback."""
    try:
        with INTERRUPTS.interruptible():
            yield
    except TooManyRejects as error:  # an ArchiveError, so a ValueError: it must come before that
        _exit(str(error), SOME_FAILED)
    except ValueError as error:
        _exit(str(error), BAD_INPUT)
    except OSError as error:
        _exit(f"--raw or --storage cannot be used: {error}", BAD_INPUT)
    except KeyboardInterrupt:
        INTERRUPTS.ignore()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        INTERRUPTS.end_process()
        raise typer.Exit(EXIT_INTERRUPTED) from None  # in a process that is not the command's own


def _exit(sentence: str, code: int) -> NoReturn:
    print(printable(without_secrets(sentence)), file=sys.stderr)
    raise typer.Exit(code) from None


def _build(spec: BuildSpec, raw: Path, storage: str, limit: int | None, max_rejects: float, check: bool) -> int:
    """Build, say what came of it, and compare the shards with the manifest: in full where asked. Exit code."""
    files = Files(storage)
    if files.is_local and (trouble := in_the_way(files.given)) is not None:
        raise ValueError(f"--storage {files.shown}: {trouble}; give a folder")
    with _Bar() as bar:
        manifest = build(
            spec, raw, files, limit=limit, max_rejects=max_rejects, progress=bar.show, start_ray=True, say=bar.say
        )
    folder = f"data/{manifest.source}-{manifest.key}"
    try:
        lines = summary(manifest, files.full(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Of a complete corpus: whoever can write to a storage can give a manifest any counts.
        raise ValueError(
            f"{folder}/{MANIFEST} is damaged (its counts are not those of a build: {type(error).__name__}: {error}): "
            f"remove {folder} and run the same command again, which builds it again from the archive"
        ) from error
    print("\n".join(map(printable, lines)))
    if not check:
        absent = absent_shards(files, folder, manifest)
        return _damaged(absent, folder) if absent else OK
    problems = verify(files, folder, manifest)
    print("\n".join(map(printable, problems)) or f"verified: {len(manifest.shards)} shards are as the manifest says")
    return SOME_FAILED if problems else OK


def _damaged(problems: Sequence[str], folder: str) -> int:
    """Say what is damaged, in the sentence that sweep.run has for it. Exit code."""
    more = f" (and {len(problems) - 1} more files of it)" if len(problems) > 1 else ""
    mend = f"remove {folder} and run the same command again, which builds it again from the archive"
    print(printable(f"{problems[0]}{more}: {mend}"), file=sys.stderr)
    return SOME_FAILED


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
    for split, of_split in sorted(counts["splits"].items(), key=lambda item: SPLITS.index(item[0])):
        text = f"  {split:5} {of_split['images']:>9,} images {of_split['patients']:>8,} patients"
        if manifest.has_reports:
            text += f" {of_split['without_impression']:>8,} without impression"
        lines.append(text)
    if batches := counts.get("batches"):
        pairs = [
            f"{each['expected']:g} pairs of one {owner} ({each['uniform']:g} if shuffled uniformly)"
            for owner, each in sorted(batches["pairs_of_one"].items(), reverse=True)  # study, patient
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
        self._progress.console.print(f"note: {printable(sentence)}", markup=False, highlight=False, soft_wrap=True)

    def show(self, done: int, total: int, text: str) -> None:
        # What an earlier build has done stands in the first call: it is progress, but no speed of this one.
        if self._task is None:
            self._task = self._progress.add_task(text, total=total, completed=done, speed="-")
            return
        self._progress.update(self._task, completed=done)
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, speed=f"{speed:,.0f}" if speed else "-")


if __name__ == "__main__":
    app()
