"""Recipes: every setting of a training under one name, read from TOML and checked.

A recipe has sections (`[model]`, `[alternation]`, …). Those that ship are in `assets/recipes`. A
file with `extends = "paper"` changes that recipe; a setting that is left out keeps its default.
`--set section.key=value` changes one value on the command line, and `leafzoom recipes NAME` shows
all of them. "§" refers to the paper; docs/design.md says how it is read where it contradicts
itself.
"""

from leafzoom.errors import needs_extra

with needs_extra("train", "reading a recipe"):
    from leafzoom.recipe.counterfactual import CounterfactualRecipe
    from leafzoom.recipe.description import (
        RecipeSummary,
        Setting,
        describe_recipe,
        recipe_summaries,
    )
    from leafzoom.recipe.files import (
        load_recipe,
        recipe_from_dict,
        recipe_names,
        recipe_to_dict,
    )
    from leafzoom.recipe.network import AugmentationRecipe, DataRecipe, ModelRecipe
    from leafzoom.recipe.parts import PartsRecipe
    from leafzoom.recipe.patches import PatchesRecipe
    from leafzoom.recipe.recipe import Recipe
    from leafzoom.recipe.stages import (
        AlternationRecipe,
        DecisionRecipe,
        FewPhotographsRecipe,
        FineTuningRecipe,
        FusionRecipe,
        OptimizerRecipe,
        PredictionRecipe,
        WarmUpRecipe,
    )

__all__ = [
    "AlternationRecipe",
    "AugmentationRecipe",
    "CounterfactualRecipe",
    "DataRecipe",
    "DecisionRecipe",
    "FewPhotographsRecipe",
    "FineTuningRecipe",
    "FusionRecipe",
    "ModelRecipe",
    "OptimizerRecipe",
    "PartsRecipe",
    "PatchesRecipe",
    "PredictionRecipe",
    "Recipe",
    "RecipeSummary",
    "Setting",
    "WarmUpRecipe",
    "describe_recipe",
    "load_recipe",
    "recipe_from_dict",
    "recipe_names",
    "recipe_summaries",
    "recipe_to_dict",
]
