"""Columns of a table that need no training: nearest neighbours, zero-shot prompts and retrieval."""
