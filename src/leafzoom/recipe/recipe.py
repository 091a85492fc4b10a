"""The whole recipe, and the checks that concern several of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from leafzoom.recipe.counterfactual import CounterfactualRecipe
from leafzoom.recipe.fields import STRICT
from leafzoom.recipe.network import AugmentationRecipe, DataRecipe, ModelRecipe
from leafzoom.recipe.parts import PartsRecipe
from leafzoom.recipe.patches import PatchesRecipe
from leafzoom.recipe.stages import (
    AlternationRecipe,
    DecisionRecipe,
    FewPhotographsRecipe,
    FineTuningRecipe,
    FusionRecipe,
    PredictionRecipe,
    WarmUpRecipe,
)

__all__ = ["Recipe"]

_RA_CNN_SETTINGS = {
    "model": (
        "scales",
        "zoom_from",
        "zoom_bounds",
        "centre_range",
        "crop_mask",
        "surrogate",
        "surrogate_scale",
        "border",
        "apn_hidden",
        "apn_activation",
        "apn_normalise",
        "proposals",
        "residual",
    ),
    "warm_up": ("target", "size_target"),
    "alternation": (
        "objective",
        "frozen_scales",
        "box_jitter",
        "attention_dropping",
        "apn_objective",
        "margin",
        "ranking_labels",
        "ranking_reduction",
        "apn",
    ),
    "few_photographs": ("below",),
}
"""What only an RA-CNN has, by section."""

_TURN_SETTINGS = {
    "warm_up": ("epochs", "batch_size", "optimizer"),
    "alternation": ("rounds",),
}
"""What only frameworks have that learn in turns, RA-CNN and MA-CNN."""

_OWNERS = (
    ("ra-cnn", _RA_CNN_SETTINGS),
    ("ra-cnn and ma-cnn", _TURN_SETTINGS),
    ("ra-cnn and attention-sampling", {"model": ("apn_stage",)}),
    ("ma-cnn", {"parts": tuple(field.name for field in fields(PartsRecipe))}),
    ("cal", {"counterfactual": tuple(field.name for field in fields(CounterfactualRecipe))}),
    ("attention-sampling", {"patches": tuple(field.name for field in fields(PatchesRecipe))}),
)
"""The frameworks that settings belong to, where not all have them."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One whole training, and how its network is used."""

    name: Annotated[str, Field(description="Name of the recipe; by default its file's.")] = (
        "default"
    )
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Seed of every random draw of the training.")
    ] = 0
    data: DataRecipe = DataRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    model: ModelRecipe = ModelRecipe()
    fine_tuning: FineTuningRecipe = FineTuningRecipe()
    warm_up: WarmUpRecipe = WarmUpRecipe()
    alternation: AlternationRecipe = AlternationRecipe()
    parts: PartsRecipe = PartsRecipe()
    counterfactual: CounterfactualRecipe = CounterfactualRecipe()
    patches: PatchesRecipe = PatchesRecipe()
    fusion: FusionRecipe = FusionRecipe()
    few_photographs: FewPhotographsRecipe = FewPhotographsRecipe()
    decision: DecisionRecipe = DecisionRecipe()
    prediction: PredictionRecipe = PredictionRecipe()

    @model_validator(mode="after")
    def _check_sections_fit(self) -> Recipe:
        self._check_framework()
        self._check_sizes_fit()
        self._check_scales_train()
        self._check_proposals_train()
        self._check_softmax()
        return self

    def _check_framework(self) -> None:
        """Raise a ValueError if a setting is of other frameworks alone."""
        framework = self.model.framework
        for owners, sections in _OWNERS:
            if framework not in owners.split():
                self._refuse_settings(owners, sections)

        if framework == "cal" and self.fusion.inputs != "logits":
            raise ValueError(
                f"fusion.inputs {self.fusion.inputs} does not fit CAL, whose classifier reads "
                "something else than the descriptors: set it to logits"
            )
        if framework == "ma-cnn" and not self.warm_up.epochs:
            raise ValueError(
                "warm_up.epochs 0 leaves an MA-CNN's channel grouping without the clusters that "
                "it starts from: set it to 1 or more"
            )

    def _refuse_settings(self, owners: str, sections: Mapping[str, Sequence[str]]) -> None:
        """Raise a ValueError if one of these settings, by section, has not its default."""
        for section, keys in sections.items():
            values = getattr(self, section)
            for key in keys:
                if getattr(values, key) != getattr(type(values)(), key):
                    raise ValueError(
                        f"{section}.{key} is a setting of model.framework {owners} alone, and "
                        f"this recipe's is {self.model.framework}: leave it out"
                    )

    def _check_sizes_fit(self) -> None:
        """Raise a ValueError if a size of one section contradicts another section."""
        source_size = self.data.source_size
        input_size = self.model.input_size
        if source_size < input_size:
            raise ValueError(
                f"data.source_size {source_size} is smaller than model.input_size {input_size}: "
                "the whole photograph would be enlarged; raise one or lower the other"
            )

        input_sizes = self.fine_tuning.input_sizes
        if input_sizes and input_sizes[-1] != input_size:
            raise ValueError(
                f"fine_tuning.input_sizes {list(input_sizes)} has to end with model.input_size "
                f"{input_size}"
            )
        if input_sizes and max(input_sizes) > source_size:
            raise ValueError(
                f"fine_tuning.input_sizes {list(input_sizes)} has a view larger than "
                f"data.source_size {source_size}: the whole photograph would be enlarged"
            )

        sizes = self.warm_up.size_target
        scales = self.model.scales
        if isinstance(sizes, tuple) and len(sizes) != scales - 1:
            raise ValueError(
                f"warm_up.size_target {list(sizes)} does not fit model.scales {scales}: give one "
                f"number, or one for each of the {scales - 1} zooms"
            )

    def _check_scales_train(self) -> None:
        """Raise a ValueError if frozen scales leave nothing to train, or batches do not fit."""
        objective = self.alternation.objective
        if self.augmentation.mix and objective in ("joint", "shared"):
            raise ValueError(
                f"augmentation.mix gives targets that objective {objective} cannot rank: set "
                "mix to 0, or another objective"
            )

        scales = self.model.scales
        frozen_scales = self.alternation.frozen_scales
        if frozen_scales >= scales:
            raise ValueError(
                f"alternation.frozen_scales {frozen_scales} of model.scales {scales} leaves no "
                "scale to train: lower it"
            )
        if self.alternation.attention_dropping and frozen_scales == scales - 1:
            raise ValueError(
                "alternation.attention_dropping changes what coarser scales learn, and "
                f"alternation.frozen_scales {frozen_scales} leaves only the last one learning: "
                "lower frozen_scales, or set attention_dropping to 0"
            )

    def _check_proposals_train(self) -> None:
        """Raise a ValueError if APNs would be trained that propose nothing."""
        if self.model.proposals != "apn" and self.trains_apns:
            raise ValueError(
                f"model.proposals {self.model.proposals} uses no APN, so none is trained: set "
                "warm_up.epochs and alternation.rounds to 0 and alternation.objective to alternate"
            )

    def _check_softmax(self) -> None:
        """Raise a ValueError if a setting for several labels is used with one class."""
        if not self.single_label:
            return
        values = self.alternation
        advice = "with model.loss softmax, where a photograph has one class"
        if values.combination_loss:
            raise ValueError(
                f"alternation.combination_loss is the cross-entropy itself {advice}: set it to 0"
            )
        if values.ranking_labels == "all":
            raise ValueError(
                f"alternation.ranking_labels all ranks labels that are absent {advice}: set it to "
                "present"
            )
        if self.decision.combinations == "any":
            raise ValueError(
                f"decision.combinations any adds combinations of labels {advice}: set it to seen"
            )

    @property
    def single_label(self) -> bool:
        """Whether each photograph has exactly one label, its class (`model.loss = "softmax"`)."""
        return self.model.loss == "softmax"

    def freezes_scales(self, photographs: int) -> bool:
        """Whether so few photographs only fit linear layers (`few_photographs.below`).

        Not where another stage trains the networks, or where the scales build on each other.
        """
        is_few = photographs < self.few_photographs.below
        trains_before = self.fine_tuning.epochs > 0 or self.trains_apns
        return is_few and not trains_before and not self.model.residual

    @property
    def looks(self) -> int:
        """How many boxes the network looks at: scales, or the whole and what comes after it."""
        looks = {
            "ra-cnn": self.model.scales,
            "ma-cnn": 1 + self.parts.number,
            "cal": 2,
            "attention-sampling": 1 + self.patches.number,
        }
        return looks[self.model.framework]

    @property
    def trains_apns(self) -> bool:
        """Whether any stage moves the APNs."""
        in_warm_up = self.warm_up.epochs > 0
        in_alternation = self.alternation.rounds > 0 or self.alternation.objective != "alternate"
        return in_warm_up or in_alternation
