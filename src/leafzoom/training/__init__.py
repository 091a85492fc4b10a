"""A training run and the paper's stages: fine-tuning, APN warm-up, alternation."""
