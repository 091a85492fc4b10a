"""Fits on validation photographs: fusions, decisions, the out-of-distribution detector."""
