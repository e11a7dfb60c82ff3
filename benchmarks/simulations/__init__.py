"""Simulated test sets and studies whose truth is known. Used by benchmarks/statistics.py."""
