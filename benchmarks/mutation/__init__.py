"""Which mutants does a pure module have, and how are its tests run against them? Used by benchmarks/mutants.py."""
