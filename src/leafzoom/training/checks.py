"""What a recipe cannot do with a backbone or a checkpoint, said before hours of training and not after."""

from __future__ import annotations

from leafzoom.errors import RecipeError
from leafzoom.labels import LabelSet
from leafzoom.model.build import build_backbone
from leafzoom.model.checkpoint import Checkpoint
from leafzoom.recipe import Recipe
from leafzoom.training.soft_labels import check_teacher

__all__ = ["check_recipe", "read_otherwise"]


def check_recipe(recipe: Recipe, labels: LabelSet, init: Checkpoint | None) -> None:
    """Refuse a training that cannot end well.

    Args:
        recipe: of the training.
        labels: that are learned.
        init: what `--init` names.

    Raises:
        RecipeError: a backbone without what the recipe asks of it, APNs that nothing trains, two start weights.
        ModelError: `init` cannot teach (`alternation.soft_labels`).
    """
    model = recipe.model
    if init and model.pretrained_sha256:
        raise RecipeError("model.pretrained_sha256 is of what model.pretrained names, not of --init: leave one out")
    trial = build_backbone(model, len(labels.names))
    trial.hold_stages(recipe.alternation.held_stages)
    warms_up = recipe.warm_up.epochs and recipe.warm_up.target == "activation"
    if warms_up or (recipe.alternation.rounds and recipe.alternation.apn_objective == "activation"):
        trial.require_class_activations(model.input_size)
    if model.batch_norm == "fold":
        trial.fold_batch_norm()
    known = read_otherwise(init, recipe) if init and not recipe.fine_tuning.epochs else ""
    if init and known and model.proposals == "apn" and not recipe.trains_apns:
        raise RecipeError(
            f"the APNs of {init.path} read maps with model.apn_normalise {known}, this recipe's with "
            f"{model.apn_normalise}, and nothing trains new ones: set warm_up.epochs to 1, or "
            f"model.apn_normalise to {known}"
        )
    _check_apns(recipe, init)
    if recipe.alternation.soft_labels:
        check_teacher(init, labels.names, recipe.data.source_size)


def read_otherwise(init: Checkpoint, recipe: Recipe) -> str:
    """The `apn_normalise` of a checkpoint's APNs where it is not that of this recipe, else ""."""
    known = str(init.manifest.recipe.get("model", {}).get("apn_normalise", "none"))
    return known if "apn1" in init.parts and known != recipe.model.apn_normalise else ""


def _check_apns(recipe: Recipe, init: Checkpoint | None) -> None:
    """Refuse to train scales on the boxes of APNs that are random: neither learned here nor taken over."""
    values = recipe.alternation
    learns = values.classifier_epochs and values.box_jitter < 1  # else no box matters, or boxes anywhere are wanted
    if recipe.model.proposals != "apn" or recipe.trains_apns or not learns:
        return
    taken = init.parts if init and not recipe.fine_tuning.epochs else ()
    missing = [f"apn{index}" for index in range(1, recipe.model.scales) if f"apn{index}" not in taken]
    if not missing:
        return
    if not init:
        why = "there is no --init to take them from (--init bundled has some)"
    elif recipe.fine_tuning.epochs:
        why = "--init gives only its backbone where fine_tuning.epochs is not 0"
    else:
        why = f"{init.path} has no {missing[0]}"
    raise RecipeError(
        f"nothing trains the attention proposal networks, and {why}: the boxes would be anywhere. Set warm_up.epochs "
        "to 1, or model.proposals to centre"
    )
