"""Pretraining: encoder jobs, worker groups of Ray Train, and encoders that need no pretraining."""
