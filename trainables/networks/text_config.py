"""What text encoder does a recipe name: one of Hugging Face, by name or by a folder's content, or a tiny one?"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets_io.fingerprint import added
from trainables.networks.weights_folder import WEIGHT_FILES, folder_weights, read_config, weight_files

# The first token that is no padding, the last one, or over all tokens that are none their maximum or mean.
POOLINGS = ("cls", "last", "max", "mean")
LOCAL_FOLDER = "a local folder"  # in place of a name: no name of a model has a blank
VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "tekken.json", "bpe.codes")
TOKENIZER_FILES = (*VOCABULARIES, "tokenizer*", "merges*", "special_tokens_map.json", "added_tokens.json")
# Who saved a configuration, and from where, says nothing of the network.
NOT_OF_THE_NETWORK = ("_name_or_path", "transformers_version")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTHS = ("hidden_size", "n_embd", "dim", "d_model", "emb_dim")


@dataclass(frozen=True)
class HuggingFaceText:
    """A pretrained text encoder: a name of the hub, or a folder, which is known by its content.

    max_length: in tokens. pooling: one of POOLINGS. frozen_dropout: whether layers that are fixed go on dropping units
    in training, as the released code has it.

    Of a folder the last three are filled in: content, the sha256 over weights, configuration and tokenizer; and, not
    hashed, path, where it lies, and size, its layers and width. Raises ValueError for a folder that is not there or no
    model's, and for a pooling or length that none has.
    """

    name_or_path: str  # or a Path, which is then a folder
    max_length: int = 128
    pooling: str = "cls"
    frozen_dropout: bool = True
    content: str | None = added(None)
    path: str | None = field(default=None, metadata={"hashed": False})
    size: tuple[int, int] | None = field(default=None, metadata={"hashed": False})

    def __post_init__(self) -> None:
        given: object = self.name_or_path
        if isinstance(given, Path):  # a folder then, never a name of the hub
            object.__setattr__(self, "name_or_path", str(given.expanduser().resolve()))
        check_common(self.pooling, self.max_length)
        if self.content is not None or self.path is not None:
            if self.name_or_path != LOCAL_FOLDER or self.content is None or self.path is None:
                raise ValueError(
                    f"HuggingFaceText has name {self.name_or_path!r}, content {self.content!r} and path {self.path!r}: "
                    "a name of the hub has neither content nor path; of a folder text_from_folder(path) gives all three"
                )
            return
        # A folder goes before a name of the hub, as it does for transformers, which loads it.
        folder = Path(self.name_or_path).expanduser()
        if folder.is_dir():
            folder = folder.resolve()
            values = (LOCAL_FOLDER, folder_sha256(folder), str(folder), folder_size(folder))
            for name, value in zip(("name_or_path", "content", "path", "size"), values, strict=True):
                object.__setattr__(self, name, value)  # frozen for all others, from here on
        elif self.name_or_path.startswith((os.sep, "~", "./", "../")):
            raise ValueError(
                f"cannot load the text encoder {self.name_or_path!r}: there is no such folder; give the folder of a "
                "downloaded model, or, where its results are only read, text_from_folder(path, sha256=its content)"
            )

    @property
    def place(self) -> str:
        """What it is loaded from: its folder or its name."""
        return self.path or self.name_or_path


@dataclass(frozen=True)
class TinyText:
    """A small BERT with random weights and a word-level vocabulary of the corpus: for demos and tests."""

    layers: int = 2
    width: int = 64
    heads: int = 2
    max_length: int = 48
    max_vocabulary: int = 2000
    dropout: float = 0.1
    pooling: str = "cls"
    frozen_dropout: bool = True

    def __post_init__(self) -> None:
        check_common(self.pooling, self.max_length)
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width is {self.width}, with {self.heads} heads; it must be a multiple of the heads")


TextConfig = HuggingFaceText | TinyText


def check_common(pooling: str, max_length: int) -> None:
    """Raise ValueError for what no text encoder can do."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; allowed: {', '.join(map(repr, POOLINGS))}")
    if max_length < 2:
        raise ValueError(f"max_length is {max_length}; a text needs at least 2 tokens")


def text_from_folder(
    path: str | Path,
    max_length: int = 128,
    pooling: str = "cls",
    frozen_dropout: bool = True,
    sha256: str | None = None,
) -> HuggingFaceText:
    """A folder of save_pretrained with its tokenizer, known by its content: it may move, and not change.

    sha256: the content that it must have (`HuggingFaceText.content`); with it the folder need not be on this machine,
    so that results of it can be read there. Raises ValueError where the folder is missing or has another content.
    """
    folder = Path(path).expanduser().resolve()
    if sha256 is not None and not folder.is_dir():
        return HuggingFaceText(LOCAL_FOLDER, max_length, pooling, frozen_dropout, sha256, str(folder))
    config = HuggingFaceText(str(folder), max_length, pooling, frozen_dropout)
    if sha256 not in (None, config.content):
        raise ValueError(f"{folder} has the content {config.content}, the study names {sha256}")
    return config


def check_content(config: HuggingFaceText) -> None:
    """Raise ValueError where a folder is gone or is not what it was when the recipe was made. Of a name: nothing."""
    if config.path is None:
        if Path(config.name_or_path).is_dir():  # made elsewhere, where it was a name: as a folder it is another encoder
            raise ValueError(
                f"{config.name_or_path!r} is a folder here, and the recipe names a model of the hub: run it from "
                "another folder, or write text_from_folder"
            )
        return
    if not Path(config.path).is_dir():
        raise ValueError(f"cannot load the text encoder {config.path!r}: there is no such folder on this machine")
    found = folder_sha256(Path(config.path))
    if found != config.content:
        raise ValueError(
            f"{config.path} has the content {found}, the study names {config.content}: it has changed since the study "
            "was read; run the study again to train with what is there now"
        )


def folder_sha256(folder: Path) -> str:
    """Over the network's configuration and the bytes of the weights that are loaded and of all tokenizer files.

    Raises ValueError for a folder without a configuration or weights.
    """
    parts = {"config.json": hashlib.sha256(json.dumps(_configuration(folder), sort_keys=True).encode()).hexdigest()}
    for path in hashed_files(folder):
        with open(path, "rb") as stream:
            parts[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(parts.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def hashed_files(folder: Path) -> list[Path]:
    """Those whose bytes are in folder_sha256: of weights and tokenizer."""
    return [*_weights(folder), *_files(folder, TOKENIZER_FILES)]


def folder_size(folder: Path) -> tuple[int, int] | None:
    """Layers and width by the folder's configuration; None where it says them under names of its own."""
    values = _configuration(folder)
    values = values.get("text_config") or values
    found = [next((values[name] for name in names if isinstance(values.get(name), int)), None)
             for names in (LAYERS, WIDTHS)]  # fmt: skip
    return (found[0], found[1]) if found[0] and found[1] else None


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a vocabulary. transformers would make a tokenizer without any of it, too."""
    return bool(_files(folder, VOCABULARIES))


def _configuration(folder: Path) -> dict[str, Any]:
    return {name: value for name, value in read_config(folder).items() if name not in NOT_OF_THE_NETWORK}


def _weights(folder: Path) -> list[Path]:
    """The files that transformers reads weights from: one, or an index and what it lists."""
    path = folder_weights(folder)
    files = weight_files(path)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{folder} lacks {missing[0]!r}, one of the {len(files)} files that {path.name} names")
    return files if files == [path] else [path, *files]


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(found - {folder / name for name in WEIGHT_FILES})
