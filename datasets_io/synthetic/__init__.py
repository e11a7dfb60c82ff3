"""Synthetic archives in the layouts of three real ones, so that everything runs without any patient's data."""
