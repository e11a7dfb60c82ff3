"""A finished encoder as files that timm and transformers load, with a model card."""
