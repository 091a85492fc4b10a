"""Choosing a recipe's values by trial trainings (`leafzoom tune`)."""
