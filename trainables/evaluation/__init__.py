"""Evaluation of encoders: cells, cached features, AUROC, nearest neighbours, zero-shot, retrieval and Grad-CAM."""
