"""The RA-CNN: one file for each block of the paper's figure 3."""
