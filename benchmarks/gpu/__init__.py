"""What does `python -m benchmarks.gpu` measure and check on one card, and what has it found?"""
