"""Scoring a model on labelled photographs."""
