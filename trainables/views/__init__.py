"""Views: how images are augmented for pretraining and prepared for evaluation, on the CPU and on an accelerator."""
