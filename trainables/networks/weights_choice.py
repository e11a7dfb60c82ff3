"""Which tensors of a file are the network's."""

from torch import Tensor, nn

from trainables.recipe import EncoderSource


def fitted(backbone: nn.Module, tensors: dict[str, Tensor], source: EncoderSource) -> dict[str, Tensor]:
    """The file's tensors under the network's names, classifiers and other parts of the file left out.

    Raises ValueError where no prefix fits, with what is missing under the nearest, or where several do.
    """
    wanted = backbone.state_dict()
    prefixes = [source.prefix] if source.prefix is not None else prefixes_of(wanted, tensors)
    results = [_under(prefix, wanted, tensors) for prefix in prefixes]
    fits = [found for found, missing, wrong in results if not missing and not wrong]
    if len(fits) > 1:  # a teacher and its student, for example: which of them is meant is not for us to guess
        raise ValueError(
            f"{source.path} holds {len(fits)} networks that fit {source.backbone.name!r}, under {prefixes}: "
            "say which with prefix"
        )
    if fits:
        return fits[0]
    _, missing, wrong = min(results, key=lambda result: len(result[1]) + len(result[2]))
    raise ValueError(
        f"{source.path} does not fit {source.backbone.name!r}: {len(missing)} of {len(wanted)} tensors missing "
        f"(first: {missing[:3]}), {len(wrong)} of another shape (first: {wrong[:3]}); "
        f"the file has {sorted(tensors)[:3]}"
    )


def prefixes_of(wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """What may stand before a network's names in a file, as its first and last tensor tell; "" always among them."""
    # A prefix stands before every name, so the first name finds its candidates and the last one confirms them.
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    found = {""}
    for name in tensors:
        if name.endswith(f".{names[0]}"):
            prefix = name[: -len(names[0])]
            if f"{prefix}{names[-1]}" in tensors:
                found.add(prefix)
    return sorted(found)


def _under(
    prefix: str, wanted: dict[str, Tensor], tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors by the network's names, names that are missing, names of another shape."""
    found: dict[str, Tensor] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for name, value in wanted.items():
        place = f"{prefix}{name}"
        if place not in tensors:
            # Counters of batches enter no output, and older files lack them.
            if not name.endswith("num_batches_tracked"):
                missing.append(name)
            found[name] = value
        elif tensors[place].shape != value.shape:
            wrong.append(name)
        else:
            found[name] = tensors[place].to(value.dtype)
    return found, missing, wrong
