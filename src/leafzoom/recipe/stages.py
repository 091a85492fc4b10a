"""The sections of a recipe that define the stages of a training, and prediction."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from leafzoom.recipe.fields import (
    STRICT,
    BatchSize,
    Count,
    Decay,
    Fraction,
    InputSize,
    Positive,
    Rate,
    Weight,
)

__all__ = [
    "AlternationRecipe",
    "DecisionRecipe",
    "FewPhotographsRecipe",
    "FineTuningRecipe",
    "FusionRecipe",
    "OptimizerRecipe",
    "PredictionRecipe",
    "WarmUpRecipe",
]


@dataclass(frozen=True, config=STRICT)
class OptimizerRecipe:
    """An optimizer and its schedule over the steps of one stage."""

    name: Annotated[Literal["sgd", "adamw"], Field(description="Optimizer (§3.3.3: SGD).")] = (
        "adamw"
    )
    learning_rate: Annotated[
        Rate,
        Field(
            description="Greatest learning rate of the schedule (§4: 1e-3 for classifiers, 1e-6 "
            "for APNs)."
        ),
    ] = 1e-3
    momentum: Annotated[
        float,
        Field(ge=0, lt=1, description="Momentum of sgd; adamw ignores it (§4: 0.9)."),
    ] = 0.9
    weight_decay: Annotated[
        Weight, Field(description="Weight decay of weights, not of biases or normalisation.")
    ] = 0.01
    schedule: Annotated[
        Literal["constant", "cosine", "one_cycle"],
        Field(
            description="Learning rate over the steps: one_cycle rises over the first quarter and "
            "falls to 0, cosine only falls."
        ),
    ] = "one_cycle"


@dataclass(frozen=True, config=STRICT)
class FineTuningRecipe:
    """First stage: the plain backbone, before every scale gets a copy (§3.3.2)."""

    epochs: Annotated[
        Count, Field(description="Epochs; 0: the scales start from the start weights.")
    ] = 3
    batch_size: BatchSize = 32
    patience: Annotated[
        Count,
        Field(
            description="Epochs without a lower validation loss that end the stage; 0: never. The "
            "best epoch is kept."
        ),
    ] = 0
    input_sizes: Annotated[
        tuple[InputSize, ...],
        Field(
            description="Sides of the view in pixels, one for each equal part of the epochs; the "
            "last is model.input_size. Empty: model.input_size in all epochs. Validations always "
            "have model.input_size."
        ),
    ] = ()
    weight_average: Decay = 0.0
    optimizer: OptimizerRecipe = OptimizerRecipe()

    @model_validator(mode="after")
    def _check_input_sizes(self) -> FineTuningRecipe:
        if self.epochs and len(self.input_sizes) > self.epochs:
            raise ValueError(
                f"input_sizes has {len(self.input_sizes)} sizes for {self.epochs} epochs: give "
                "fewer sizes, or more epochs"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class WarmUpRecipe:
    """Second stage: the APNs learn given boxes by smooth L1 (§3.3.2).

    The channel grouping of an MA-CNN learns the clusters that it starts from.
    """

    epochs: Annotated[Count, Field(description="Epochs; 0: no warm-up.")] = 1
    batch_size: BatchSize = 32
    target: Annotated[
        Literal["response", "activation", "centre"],
        Field(
            description="Centre of the boxes: the map's largest response (§3.3.2), the centre of "
            "the class activation maps of the photograph's labels, or the view's centre."
        ),
    ] = "response"
    size_target: Annotated[
        float | tuple[float, ...],
        Field(
            description="Size of the boxes, from -1 (smallest) to 1 (greatest, the authors'): one "
            "for all zooms, or one for each."
        ),
    ] = 1.0
    optimizer: OptimizerRecipe = OptimizerRecipe(learning_rate=1e-3, weight_decay=0.0)

    @model_validator(mode="after")
    def _check_sizes(self) -> WarmUpRecipe:
        sizes = self.size_target if isinstance(self.size_target, tuple) else (self.size_target,)
        for size in sizes:
            if not -1 <= size <= 1:
                raise ValueError(f"size_target is from -1 (least) to 1 (greatest), not {size:g}")
        return self


@dataclass(frozen=True, config=STRICT)
class AlternationRecipe:
    """Third stage: classifiers and APNs in turn, at last the classifiers (§3.2, §3.3.3)."""

    rounds: Annotated[
        Count,
        Field(
            description="Rounds of classifier epochs and an APN epoch; 0: classifiers only. Of an "
            "MA-CNN: of grouping epochs (parts.grouping_epochs), then classifier epochs. Others: "
            "none."
        ),
    ] = 1
    batch_size: BatchSize = 32
    patience: Annotated[
        Count,
        Field(
            description="Classifier phases without a lower validation loss that end the stage; "
            "0: never. The best state after a classifier phase is kept."
        ),
    ] = 0
    objective: Annotated[
        Literal["alternate", "shared", "joint", "end_to_end"],
        Field(
            description="alternate: classifiers and APNs in turn, each with its own loss; shared: "
            "in turn, with one loss for all classifiers and one for both APNs, nothing detached, "
            "which §3.3.3 found to fail; joint: one loss for everything at once; end_to_end: no "
            "APN phases, each APN learns from its finer scale's classification loss, through the "
            "crop."
        ),
    ] = "alternate"
    classifier_epochs: Annotated[Count, Field(description="Epochs of each classifier phase.")] = 1
    frozen_stages: Annotated[
        Count,
        Field(
            description="First stages of every EfficientNet, and its stem if above 0, that stay as "
            "fine-tuning left them."
        ),
    ] = 0
    frozen_scales: Annotated[Count, Field(description="First scales that stay as they are.")] = 0
    box_jitter: Annotated[
        float,
        Field(
            ge=0,
            le=2,
            description="In classifier phases tx, ty and tl move at random by up to this; 2: boxes "
            "anywhere.",
        ),
    ] = 0.0
    attention_dropping: Annotated[
        Fraction,
        Field(
            description="Probability that the next scale's box is masked in the view that a "
            'classifier learns from (Hu et al. 2019, "See Better Before Looking Closer").'
        ),
    ] = 0.0
    soft_labels: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            description="Weight of a trained network's probabilities in the classifiers' targets; "
            "the labels have the rest. They are those of its last fusion: of --init, or the mean "
            "over the networks of --teacher.",
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            description="Weight of the label's frequency in the classifiers' targets (Szegedy et "
            "al. 2016); the photograph's own label has the rest.",
        ),
    ] = 0.0
    combination_loss: Annotated[
        Weight,
        Field(
            description="Weight of the cross-entropy over the combinations of labels that a "
            "decision chooses from, added to the binary cross-entropy. A combination's score is "
            "the sum of its labels' logits. 0: none."
        ),
    ] = 0.0
    weight_average: Decay = 0.0
    apn_objective: Annotated[
        Literal["ranking", "classification", "expected", "activation"],
        Field(
            description="Loss of APN phases: ranking (eq. 11), the finer scale's classification "
            "loss, its expected value around the box, or the warm-up's distance to the centre of "
            "the class activation maps."
        ),
    ] = "ranking"
    margin: Annotated[
        float,
        Field(ge=0, le=1, description="Margin of the ranking loss, in probability (§3.2: 0.05)."),
    ] = 0.05
    ranking_labels: Annotated[
        Literal["present", "all"],
        Field(
            description="Probabilities that are ranked: the mean over the labels that are present "
            "(eq. 11), or that of each label (the authors' code)."
        ),
    ] = "present"
    ranking_reduction: Annotated[
        Literal["sum", "mean"],
        Field(description="Ranking loss over a batch: sum (§3.2) or mean."),
    ] = "mean"
    classifier: OptimizerRecipe = OptimizerRecipe(learning_rate=5e-4)
    apn: OptimizerRecipe = OptimizerRecipe(learning_rate=1e-4, weight_decay=0.0)

    @model_validator(mode="after")
    def _check_objective(self) -> AlternationRecipe:
        if self.objective == "shared" and self.apn_objective != "ranking":
            raise ValueError("objective shared is the paper's: leave apn_objective at ranking")
        if self.objective != "alternate" and self.apn_objective != "ranking":
            raise ValueError(
                f"objective {self.objective} has no APN phases: leave apn_objective at ranking"
            )
        if self.objective == "end_to_end" and self.rounds:
            raise ValueError("objective end_to_end has no APN phases: set rounds to 0")

        frozen = self.frozen_scales or self.frozen_stages
        changes_classifiers = frozen or self.box_jitter or self.attention_dropping
        if self.objective in ("joint", "shared") and changes_classifiers:
            raise ValueError(
                f"objective {self.objective} trains everything as it is: leave frozen_scales, "
                "frozen_stages, box_jitter and attention_dropping at 0"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class FusionRecipe:
    """Last stage: the heads that fuse scales 1+2 and 1+2+3, with the RA-CNN frozen (§4.1)."""

    inputs: Annotated[
        Literal["descriptors", "logits"],
        Field(
            description="What is fused: the scales' pooled descriptors (§4.1) or their logits "
            "(the authors' code)."
        ),
    ] = "descriptors"
    normalise: Annotated[
        Literal["none", "l2", "rescale"],
        Field(
            description="l2: each descriptor is divided by its norm; rescale: shifted and scaled, "
            "one factor a scale; none: as it is (§4.1)."
        ),
    ] = "rescale"
    fit: Annotated[
        Literal["sgd", "lbfgs"],
        Field(
            description="sgd: on the training part (§4.1); lbfgs: the convex problem on the "
            "validation part, which the backbones did not overfit, with a cross-validated L2 "
            "penalty towards the mean of the scales' classifiers."
        ),
    ] = "lbfgs"
    epochs: Annotated[Positive, Field(description="Epochs of sgd (§4.1: 5).")] = 5
    batch_size: Annotated[
        Positive, Field(description="Photographs in a batch of sgd (§4.1: 32).")
    ] = 32
    optimizer: OptimizerRecipe = OptimizerRecipe(
        name="sgd", learning_rate=1e-3, momentum=0.9, weight_decay=0.0, schedule="constant"
    )


@dataclass(frozen=True, config=STRICT)
class FewPhotographsRecipe:
    """What happens where the photographs are too few to hold some out."""

    below: Annotated[
        Count,
        Field(
            description="With fewer photographs than this in the training and validation part "
            "together, all of them are learned from: the scales stay as they start, their linear "
            "layers are fitted by cross-validated L2 penalties, and fusions and decisions on what "
            "each photograph gets from a fit without its fold. Only where fine_tuning, warm_up and "
            "APN phases train nothing and model.residual is 0; 0: never."
        ),
    ] = 0


@dataclass(frozen=True, config=STRICT)
class DecisionRecipe:
    """Which answers a trained network can give."""

    combinations: Annotated[
        Literal["seen", "any"],
        Field(
            description="Combinations of labels that can be an answer: those of the training and "
            "validation part, or also any others of up to three labels, with a prior against "
            "them."
        ),
    ] = "seen"
    exclusive: Annotated[
        tuple[str, ...],
        Field(
            description="Labels that exclude all others where combinations is any, unless "
            "photographs have them together."
        ),
    ] = ("healthy",)


@dataclass(frozen=True, config=STRICT)
class PredictionRecipe:
    """How the trained network is used."""

    tta: Annotated[
        Literal[1, 2, 4],
        Field(
            description="Test-time augmentation: logits are averaged over this many mirror images, "
            "a pass each; 2: left-right; 4: up-down too."
        ),
    ] = 1
    max_source_size: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Greatest side in pixels of the squares that are cut from photos; each "
            "gets what its pixels carry, data.source_size at least. 0: data.source_size for all. "
            "Measure first whether larger ones help.",
        ),
    ] = 0
