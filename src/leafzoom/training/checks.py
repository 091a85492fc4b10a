"""What a recipe cannot do with a backbone or a checkpoint, found before hours of training."""

from __future__ import annotations

from lightning.fabric import Fabric

from leafzoom.dataset.batches import batch_count
from leafzoom.errors import RecipeError, TrainingError
from leafzoom.labels import LabelSet
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone
from leafzoom.model_file.checkpoint import Checkpoint
from leafzoom.recipe import Recipe
from leafzoom.training.processes import has_batch_norms

__all__ = ["check_held_out", "check_recipe", "check_shares", "conflicting_apn_normalisation"]


def check_recipe(recipe: Recipe, labels: LabelSet, init: Checkpoint | None) -> None:
    """Refuse a training that cannot end well.

    Args:
        recipe: of the training.
        labels: that are learned.
        init: the checkpoint of `--init`.

    Raises:
        RecipeError: a backbone without what the recipe asks of it, APNs that nothing trains, two
            start weights.
    """
    if init and recipe.model.pretrained_sha256:
        raise RecipeError(
            "model.pretrained_sha256 is of what model.pretrained names, not of --init: leave one "
            "out"
        )

    _check_backbone(recipe, labels)
    if recipe.model.framework != "ra-cnn":
        return
    if init:
        _check_initial_apns(recipe, init)
    _check_apns_are_trained(recipe, init)


def check_held_out(recipe: Recipe, photographs: int, validating: int) -> None:
    """Refuse to hold nothing out of photographs so few that they are cross-validated.

    Args:
        recipe: of the training.
        photographs: in the training and the validation part.
        validating: in the validation part.

    Raises:
        RecipeError: they are so few, and none validates.
    """
    if not validating and recipe.freezes_scales(photographs):
        raise RecipeError(
            f"with fewer than {recipe.few_photographs.below} photographs "
            "(few_photographs.below) all are learned from already, and cross-validated: leave "
            "--select-on none out"
        )


def check_shares(
    fabric: Fabric, recipe: Recipe, backbone: Backbone, photographs: int, *, frozen: bool
) -> None:
    """Refuse to share batches that several processes cannot share.

    Args:
        fabric: of the processes.
        recipe: of the training.
        backbone: the plain one, as it starts.
        photographs: in the training part.
        frozen: whether the scales stay as they start.

    Raises:
        TrainingError: a batch has fewer photographs than there are processes, batch norms would
            have to see each other's batches on a CPU, or the framework is CAL.
    """
    processes = fabric.world_size
    if processes == 1:
        return
    if recipe.model.framework == "cal":
        raise TrainingError(
            f"{processes} processes cannot train a CAL: each would move the labels' centres by its "
            "own photographs; use --devices 1"
        )

    batch_sizes = {
        "fine_tuning": recipe.fine_tuning.batch_size if recipe.fine_tuning.epochs else 0,
        "warm_up": recipe.warm_up.batch_size if recipe.warm_up.epochs else 0,
        "alternation": 0 if frozen else recipe.alternation.batch_size,
    }
    for stage, batch_size in batch_sizes.items():
        # Batches of an epoch differ by at most one.
        smallest = photographs // batch_count(photographs, batch_size) if batch_size else processes
        if smallest < processes:
            raise TrainingError(
                f"{processes} processes share a batch, and {stage}.batch_size {batch_size} gives "
                f"one of {smallest} photographs: set it higher, or use fewer --devices"
            )

    # Fine-tuning updates batch norms, whatever becomes of them later.
    keeps = recipe.model.batch_norm == "keep" and not frozen
    updates = bool(recipe.fine_tuning.epochs) or keeps
    if updates and has_batch_norms(backbone) and fabric.device.type == "cpu":
        stage = "fine_tuning" if recipe.fine_tuning.epochs else 'model.batch_norm = "keep"'
        raise TrainingError(
            f"{processes} processes on a CPU cannot update batch norms together ({stage}), which "
            "needs PyTorch's SyncBatchNorm and GPUs: fine-tune with --devices 1, then go on from "
            "that run with --init RUN --set fine_tuning.epochs=0 --set model.batch_norm=fold"
        )


def conflicting_apn_normalisation(init: Checkpoint, recipe: Recipe) -> str | None:
    """The `apn_normalise` of a checkpoint's APNs if it differs from the recipe's, else None."""
    stored = str(init.manifest.recipe.get("model", {}).get("apn_normalise", "none"))
    differs = stored != recipe.model.apn_normalise
    return stored if "apn1" in init.parts and differs else None


def _check_backbone(recipe: Recipe, labels: LabelSet) -> None:
    """Try on a backbone of the recipe everything that the training will ask of it."""
    backbone = build_backbone(recipe.model, len(labels.names))
    backbone.freeze_stages(recipe.alternation.frozen_stages)

    # Class activation maps can be the targets of the warm-up and of the APN phases.
    warms_up = recipe.warm_up.epochs and recipe.warm_up.target == "activation"
    has_apn_phases = recipe.alternation.rounds
    if warms_up or (has_apn_phases and recipe.alternation.apn_objective == "activation"):
        backbone.require_class_activations(recipe.model.input_size)

    _check_batches_of_one(recipe, backbone)
    if recipe.model.batch_norm == "fold":
        backbone.fold_batch_norm()


def _check_batches_of_one(recipe: Recipe, backbone: Backbone) -> None:
    """Refuse a stage of single photographs if a batch norm would see one value a channel."""
    batch_sizes = {}
    input_size = recipe.model.input_size
    if recipe.fine_tuning.epochs:
        smallest = min((input_size, *recipe.fine_tuning.input_sizes))
        batch_sizes["fine_tuning"] = (recipe.fine_tuning.batch_size, smallest)
    if recipe.alternation.rounds and recipe.model.batch_norm != "fold":
        batch_sizes["alternation"] = (recipe.alternation.batch_size, input_size)

    for stage, (batch_size, view_side) in batch_sizes.items():
        if batch_size == 1 and not backbone.learns_from_one(view_side):
            raise RecipeError(
                f"{stage}.batch_size is 1, and with model.input_size {view_side} the batch norms "
                f"of {backbone.name} then see one value: set it to 2 or more"
            )


def _check_initial_apns(recipe: Recipe, init: Checkpoint) -> None:
    """Refuse APNs that read their maps in another way, where nothing trains new ones."""
    if recipe.fine_tuning.epochs or recipe.model.proposals != "apn" or recipe.trains_apns:
        return

    stored = conflicting_apn_normalisation(init, recipe)
    if stored is not None:
        raise RecipeError(
            f"the APNs of {init.path} read maps with model.apn_normalise {stored}, this recipe's "
            f"with {recipe.model.apn_normalise}, and nothing trains new ones: set warm_up.epochs "
            f"to 1, or model.apn_normalise to {stored}"
        )


def _check_apns_are_trained(recipe: Recipe, init: Checkpoint | None) -> None:
    """Refuse to train scales on the boxes of random APNs: neither learned here nor taken over."""
    values = recipe.alternation
    uses_boxes = values.classifier_epochs and values.box_jitter < 1  # from 1 on boxes are anywhere
    if recipe.model.proposals != "apn" or recipe.trains_apns or not uses_boxes:
        return

    # Fine-tuning takes only the backbone from `--init`.
    stored = init.parts if init and not recipe.fine_tuning.epochs else set()
    needed = [f"apn{index}" for index in range(1, recipe.model.scales)]
    missing = [name for name in needed if name not in stored]
    if not missing:
        return

    if not init:
        reason = "there is no --init to take them from (--init bundled has some)"
    elif recipe.fine_tuning.epochs:
        reason = "--init gives only its backbone where fine_tuning.epochs is not 0"
    else:
        reason = f"{init.path} has no {missing[0]}"
    raise RecipeError(
        f"nothing trains the attention proposal networks, and {reason}: the boxes would be "
        "anywhere. Set warm_up.epochs to 1, or model.proposals to centre"
    )
