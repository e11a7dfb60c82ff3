"""Fine-tuning: images on the device, a step in the same memory each time, seeds side by side."""
