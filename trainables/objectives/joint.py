"""Joint: an image-text and an image-image objective on one backbone (Mu et al., 2022; the paper's eq. 6)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from trainables.batch import MULTI_MODAL, SSL_1, SSL_2, Batch
from trainables.objectives.base import TWO_VIEWS, BuildContext, ImageImageConfig, Objective
from trainables.objectives.clip import ClipConfig

# With the multi-modal view as a third one the image-image loss sees each pair of the three.
ALL_PAIRS = ((SSL_1, SSL_2), (SSL_1, MULTI_MODAL), (SSL_2, MULTI_MODAL))


@dataclass(frozen=True)
class JointSettings:
    """How the parts of a joint method are put together. Raises ValueError for an unknown ssl_pairs.

    ssl_weight is the paper's c. ssl_pairs: `two` = (view 1, view 2); `all` = the released code's three pairs.
    """

    ssl_weight: float = 1.0
    ssl_pairs: str = "two"

    def __post_init__(self) -> None:
        if self.ssl_pairs not in ("two", "all"):
            raise ValueError(f"ssl_pairs is {self.ssl_pairs!r}; allowed: 'two', 'all'")


@dataclass(frozen=True)
class JointConfig:
    """l = l_image_text(multi-modal view, report) + ssl_weight * l_image_image(two self-supervised views)."""

    image_text: ClipConfig
    image_image: ImageImageConfig
    settings: JointSettings = JointSettings()
    version: int = 1

    needs_text: ClassVar[bool] = True
    views: ClassVar[tuple[str, ...]] = (MULTI_MODAL, SSL_1, SSL_2)

    def build(self, context: BuildContext) -> "Joint":
        """Both parts on one backbone; the image-image part gets one pair of views, or three."""
        pairs = ALL_PAIRS if self.settings.ssl_pairs == "all" else TWO_VIEWS
        return Joint(self.image_text.build(context), self.image_image.build(context, pairs), self.settings.ssl_weight)


class Joint(Objective):
    """The weighted sum. Heads read backbone features; no head feeds another."""

    views = (MULTI_MODAL, SSL_1, SSL_2)

    def __init__(self, image_text: Objective, image_image: Objective, ssl_weight: float):
        super().__init__()
        self.image_text, self.image_image, self.ssl_weight = image_text, image_image, ssl_weight

    @property
    def feature_views(self) -> tuple[str, ...]:
        """Those that either part reads: a view that both read passes the backbone once."""
        return tuple(dict.fromkeys(self.image_text.feature_views + self.image_image.feature_views))

    @property
    def shuffled_views(self) -> tuple[str, ...]:
        """Those of the image-image part."""
        return self.image_image.shuffled_views

    def project(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The tensors of both parts, under `image_text/<name>` and `image_image/<name>`."""
        # Prefixes keep the parts' names apart in one flat dict, as the gradient cache needs it.
        text, image = self.image_text.project(features, batch), self.image_image.project(features, batch)
        return {f"image_text/{k}": v for k, v in text.items()} | {f"image_image/{k}": v for k, v in image.items()}

    def losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """The named losses of both parts, those of the image-image part times ssl_weight."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in embeddings.items() if k.startswith(prefix)}

        text, image = self.image_text.losses(part("image_text/")), self.image_image.losses(part("image_image/"))
        return text | {name: self.ssl_weight * value for name, value in image.items()}

    def after_step(self, backbone: nn.Module) -> None:
        """That of both parts."""
        self.image_text.after_step(backbone)
        self.image_image.after_step(backbone)
