"""Networks: image backbones, heads, text encoders, and batch norm over all workers."""
