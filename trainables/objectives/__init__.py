"""Objectives: what a pretraining minimises, one file for each; `trainables.registry` names them."""
