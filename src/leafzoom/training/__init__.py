"""The paper's stages: fine-tuning, warm-up, alternation, fusion, decision; and the run that holds
them.
"""
