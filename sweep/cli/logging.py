"""Which warnings of libraries does a user not need to see?"""

import logging
import os
import warnings


def silence_libraries() -> None:
    """Keep warnings of libraries that a user can do nothing about off the screen; workers' logs keep them."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("ray", "ray.data", "ray.tune", "ray.train", "timm", "transformers", "pydicom"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Hugging Face reads its variables when it is imported, Ray its own when it starts: this comes before both.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
