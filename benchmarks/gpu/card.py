"""Is there a card to measure on, and which is it: name, driver, clocks, memory?"""

import torch


def why_no_card() -> str | None:
    """A sentence, where torch sees no NVIDIA GPU in this process; None where it sees one."""
    if torch.cuda.is_available() and torch.version.hip is None:
        return None
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"needs an NVIDIA GPU, and torch {torch.__version__} ({built}) sees none here"
