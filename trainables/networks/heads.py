"""Projection heads: one specification for all of them (the paper's B.4, docs/fidelity.md)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datasets_io.nearest import did_you_mean

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


@dataclass(frozen=True)
class HeadSpec:
    """Linear layers of widths `dims` after the input; norm and activation between them, never after the last.

    norm: `batch` or None; act: `relu`, `gelu` or None. bias: in layers before the last; bias_last: in the last.
    residual: adds the first layer's output to the last's; out_norm: `layer` or None, at the very end.
    dropout: share of units, after the last layer. Raises ValueError for a combination that no head can have.
    """

    dims: tuple[int, ...]
    norm: str | None = None
    act: str | None = None
    bias: bool = True
    bias_last: bool = True
    residual: bool = False
    dropout: float = 0.0
    out_norm: str | None = None

    def __post_init__(self) -> None:
        if not self.dims or min(self.dims) < 1:
            raise ValueError(f"a head needs at least one positive width, got dims={self.dims}")
        if self.norm not in (None, "batch") or self.out_norm not in (None, "layer"):
            raise ValueError(
                f"norm is {self.norm!r} (allowed: 'batch', None), out_norm {self.out_norm!r} (allowed: 'layer', None)"
            )
        if self.act is not None and self.act not in ACTIVATIONS:
            hint = did_you_mean(self.act, ACTIVATIONS)
            raise ValueError(f"act is {self.act!r}; allowed: {', '.join(ACTIVATIONS)}, None{hint}")
        if self.residual and (len(self.dims) < 2 or self.dims[0] != self.dims[-1]):
            raise ValueError(f"a residual head needs 2+ layers with equal first and last widths, got dims={self.dims}")


class Head(nn.Module):
    """The layers of a HeadSpec: (B, width) -> (B, dims[-1])."""

    def __init__(self, spec: HeadSpec, width: int):
        super().__init__()
        widths = (width, *spec.dims)
        last = len(spec.dims) - 1
        # The first layer stands apart, since a residual head adds its output to the last's.
        self.residual = spec.residual
        self.first = nn.Linear(width, spec.dims[0], bias=spec.bias if last else spec.bias_last)
        rest: list[nn.Module] = []
        for i in range(1, len(spec.dims)):
            # Between two layers: norm, activation, layer. So neither follows the last one.
            if spec.norm == "batch":
                rest.append(nn.BatchNorm1d(widths[i]))
            if spec.act is not None:
                rest.append(ACTIVATIONS[spec.act]())
            rest.append(nn.Linear(widths[i], widths[i + 1], bias=spec.bias_last if i == last else spec.bias))
        if spec.dropout:
            rest.append(nn.Dropout(spec.dropout))
        self.rest = nn.Sequential(*rest)
        self.out_norm = nn.LayerNorm(spec.dims[-1]) if spec.out_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, dims[-1])."""
        first = self.first(x)
        out = self.rest(first)
        return self.out_norm(out + first if self.residual else out)


def unit(z: Tensor) -> Tensor:
    """Rows scaled to length 1, in float32 or wider: losses are computed outside half precision."""
    return nn.functional.normalize(at_least_float32(z), dim=-1)


def at_least_float32(z: Tensor) -> Tensor:
    """float16 and bfloat16 of any shape become float32; float32 and float64 (of tests) stay as they are."""
    return z if z.dtype == torch.float64 else z.float()
