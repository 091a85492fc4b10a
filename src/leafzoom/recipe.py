"""Recipes: every choice of a training under one name, read from TOML and checked.

A recipe is a file of sections (`[model]`, `[alternation]`, …); `recipes/*.toml` ship in the package. A file
that starts with `extends = "paper"` changes that recipe; what is left out keeps the value given here.
`--set section.key=value` changes one value on the command line.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from leafzoom.errors import RecipeError, needs_extra

with needs_extra("train", "reading a recipe"):
    from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
    from pydantic.dataclasses import dataclass

__all__ = [
    "AlternationRecipe",
    "AugmentationRecipe",
    "DataRecipe",
    "FineTuningRecipe",
    "FusionRecipe",
    "ModelRecipe",
    "OptimizerRecipe",
    "PredictionRecipe",
    "Recipe",
    "WarmUpRecipe",
    "load_recipe",
    "recipe_from_dict",
    "recipe_names",
    "recipe_to_dict",
]

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[int, Field(ge=0)]
_Positive = Annotated[int, Field(ge=1)]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=_STRICT)
class DataRecipe:
    """What is trained on: the side of the square source, the labels, and how many photographs.

    `train_limit` and `select_limit` take a part of that many photographs, label combinations balanced
    (0: all). Without `labels` they are those of the CSV, sorted.
    """

    source_size: Annotated[int, Field(ge=32, le=2048)] = 256
    labels: tuple[str, ...] = ()
    train_limit: _Count = 0
    select_limit: _Count = 0

    @model_validator(mode="after")
    def _label_names(self) -> DataRecipe:
        if len(set(self.labels)) != len(self.labels) or any(len(name.split()) != 1 for name in self.labels):
            raise ValueError(f"labels are different words without spaces, not {list(self.labels)}")
        return self


@dataclass(frozen=True, config=_STRICT)
class AugmentationRecipe:
    """Random changes of the source, drawn for each photograph of a batch by itself.

    `crop_scale` is the smallest share of the area that a random crop keeps (1: no crop), `brightness`,
    `contrast`, `saturation` (factors 1 ± value) and `hue` (± turns of the wheel) are those of a colour jitter.
    """

    flip: bool = True
    transpose: bool = True
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 0.6
    crop_aspect: Annotated[float, Field(ge=1, le=4)] = 1.25
    brightness: _Fraction = 0.15
    contrast: _Fraction = 0.15
    saturation: _Fraction = 0.15
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0


@dataclass(frozen=True, config=_STRICT)
class ModelRecipe:
    """The RA-CNN: its backbone, its attention proposal networks (APNs) and how they zoom.

    `batch_norm = "fold"`: once the backbone is fine-tuned, its batch norms become part of its convolutions, and the
    scales that are copies of it train without (less than half the time of a step on a CPU).
    `pretrained_sha256`: what the weights that `pretrained` names have to be ("": anything); a run's `run.json` tells
    it as `start_weights`.
    `zoom_bounds` are the least and the greatest side of a box as fractions of the view's side. See DESIGN.md,
    "The paper, read correctly", for `zoom_from` (4), `centre_range` (1), `crop_mask` (3), `surrogate` and
    `surrogate_scale` (5) and the `apn_` keys (8). `apn_normalise = "places"`: the APN reads where each channel of its
    map differs from its mean over the places, on one scale. `proposals`: who proposes the boxes, the `apn`, or no
    network: the view's `centre`, or the place of the largest `response` of the map (both of the greatest side).
    `residual`: a scale's logits are its own plus this share of the coarser scale's, which get no gradient: so a finer
    scale learns what the coarser ones do not know (0: every scale starts anew, the paper).
    """

    backbone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] = "tf_efficientnet_lite0"  # no address of a hub
    pretrained: str = "package"
    pretrained_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    input_size: Annotated[int, Field(ge=32, le=1024)] = 224
    scales: Annotated[int, Field(ge=2, le=6)] = 3
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.2
    batch_norm: Literal["keep", "fold"] = "keep"
    zoom_from: Literal["source", "view"] = "source"
    zoom_bounds: tuple[float, float] = (2 / 5, 2 / 3)
    centre_range: Literal["largest", "own"] = "own"
    crop_mask: Literal["none", "boxcar"] = "none"
    surrogate: Literal["paper", "balanced", "exact"] = "balanced"
    surrogate_scale: Literal["sum", "per_sample"] = "per_sample"
    border: Annotated[float, Field(ge=0.05, le=0.45)] = 0.25
    apn_hidden: Annotated[int, Field(ge=1, le=16384)] = 64
    apn_activation: Literal["sigmoid", "relu"] = "sigmoid"
    apn_normalise: Literal["none", "places"] = "none"
    apn_stage: Literal["last", "stride16"] = "last"
    proposals: Literal["apn", "centre", "response"] = "apn"
    residual: _Fraction = 0.0

    @model_validator(mode="after")
    def _bounds(self) -> ModelRecipe:
        low, high = self.zoom_bounds
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"zoom_bounds has to be two fractions of the view, 0 < least <= greatest <= 1, not {low}, {high}"
            )
        if low == 1:
            raise ValueError("zoom_bounds 1, 1 leaves no box that zooms: lower the least")
        return self


@dataclass(frozen=True, config=_STRICT)
class OptimizerRecipe:
    """An optimizer and its schedule over the steps of one stage.

    `one_cycle` rises to `learning_rate` over the first quarter and falls to nothing; `cosine` only falls.
    """

    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: _Rate = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: _Weight = 0.01
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"


@dataclass(frozen=True, config=_STRICT)
class FineTuningRecipe:
    """The plain backbone, before it is copied into every scale (0 epochs: straight from its start weights).

    `patience` epochs without a better selection loss end the stage (0: never); the best epoch is kept.
    """

    epochs: _Count = 3
    batch_size: _Positive = 32
    patience: _Count = 0
    optimizer: OptimizerRecipe = OptimizerRecipe()


@dataclass(frozen=True, config=_STRICT)
class WarmUpRecipe:
    """The APNs learn a place (smooth L1), before they learn from the ranking loss.

    `target`: the place of the largest `response` of the map (the paper), the centre of the class `activation` maps of
    the photograph's labels, or the view's `centre`. `size_target` is what the box's size learns, from -1 (least) to 1
    (greatest; the authors'): one for all zooms, or a list with one for each.
    """

    epochs: _Count = 1
    batch_size: _Positive = 32
    target: Literal["response", "activation", "centre"] = "response"
    size_target: float | tuple[float, ...] = 1.0
    optimizer: OptimizerRecipe = OptimizerRecipe(learning_rate=1e-3, weight_decay=0.0)

    @model_validator(mode="after")
    def _sizes(self) -> WarmUpRecipe:
        sizes = self.size_target if isinstance(self.size_target, tuple) else (self.size_target,)
        for size in sizes:
            if not -1 <= size <= 1:
                raise ValueError(f"size_target is from -1 (least) to 1 (greatest), not {size:g}")
        return self


@dataclass(frozen=True, config=_STRICT)
class AlternationRecipe:
    """Classifier and APN phases in turn: `rounds` times `classifier_epochs` epochs of the one and an epoch of the
    other, then a last turn of the classifiers.

    `patience` counts classifier phases without a better selection loss (0: never stop early); the best state
    after a classifier phase is kept. `objective = "joint"` is the shared loss and optimizer of §3.3.3 that
    failed: every epoch one phase for everything. `end_to_end`: no APN phases either, but every APN learns in the
    classifier phases from its finer scale's classification loss, through the crop. `apn_objective`: what an APN phase
    learns from, the `ranking` loss (the paper), the finer scale's `classification` loss, the loss that is `expected`
    around its box (see `training.expected_loss`), or the warm-up's distance to the centre of the class `activation`
    maps, as the classifiers now have them. `held_stages`: the stem and so many first stages of every EfficientNet
    stay as fine-tuning left them; `held_scales`: so many first scales stay wholly. `box_jitter`: in classifier phases
    tx, ty and tl are moved at random by up to so much (2: boxes anywhere). `attention_dropping`: the share of
    photographs, drawn at random, whose coarser view a classifier learns from with the next zoom's box blotted out (Hu
    et al. 2019, "See Better Before Looking Closer").
    `soft_labels`: the weight of the probabilities that the `--init` network's last fusion gives in the classifiers'
    targets; the labels have the rest (see `training.soft_labels`).
    """

    rounds: _Count = 1
    batch_size: _Positive = 32
    patience: _Count = 0
    objective: Literal["alternate", "joint", "end_to_end"] = "alternate"
    classifier_epochs: _Count = 1
    held_stages: _Count = 0
    held_scales: _Count = 0
    box_jitter: Annotated[float, Field(ge=0, le=2)] = 0.0
    attention_dropping: _Fraction = 0.0
    soft_labels: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    apn_objective: Literal["ranking", "classification", "expected", "activation"] = "ranking"
    margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    ranking_labels: Literal["present", "all"] = "present"
    ranking_reduction: Literal["sum", "mean"] = "mean"
    classifier: OptimizerRecipe = OptimizerRecipe(learning_rate=5e-4)
    apn: OptimizerRecipe = OptimizerRecipe(learning_rate=1e-4, weight_decay=0.0)

    @model_validator(mode="after")
    def _objectives(self) -> AlternationRecipe:
        if self.objective != "alternate" and self.apn_objective != "ranking":
            raise ValueError(f"objective {self.objective} has no APN phases: leave apn_objective at ranking")
        if self.objective == "end_to_end" and self.rounds:
            raise ValueError("objective end_to_end has no APN phases: set rounds to 0")
        if self.objective == "joint" and (self.held_scales or self.box_jitter or self.attention_dropping):
            raise ValueError(
                "objective joint trains everything as it is: leave held_scales, box_jitter and attention_dropping "
                "at 0"
            )
        return self


@dataclass(frozen=True, config=_STRICT)
class FusionRecipe:
    """The heads that fuse scales 1+2 and 1+2+3, trained with the RA-CNN frozen.

    `inputs`: pooled `descriptors` or the scales' `logits`. `normalise`: each descriptor divided by its norm
    (`l2`), shifted and scaled by one factor a scale (`rescale`), or left alone. `fit`: `sgd`, as the paper, on
    the training part; or `lbfgs`, the convex problem to its end on the selection part, which the backbones did
    not overfit, with an L2 penalty (chosen by cross-validation) towards the mean of the scales' classifiers.
    """

    inputs: Literal["descriptors", "logits"] = "descriptors"
    normalise: Literal["none", "l2", "rescale"] = "rescale"
    fit: Literal["sgd", "lbfgs"] = "lbfgs"
    epochs: _Positive = 5
    batch_size: _Positive = 32
    optimizer: OptimizerRecipe = OptimizerRecipe(
        name="sgd", learning_rate=1e-3, momentum=0.9, weight_decay=0.0, schedule="constant"
    )


@dataclass(frozen=True, config=_STRICT)
class PredictionRecipe:
    """How the trained network is used: `mirrors` 2 or 4 averages every head's logits over mirror images.

    2: the photograph and its left-right mirror image; 4: up-down too. Costs so many passes.
    """

    mirrors: Literal[1, 2, 4] = 1


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """One whole training, and how its network is used."""

    name: str = "default"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataRecipe = DataRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    model: ModelRecipe = ModelRecipe()
    fine_tuning: FineTuningRecipe = FineTuningRecipe()
    warm_up: WarmUpRecipe = WarmUpRecipe()
    alternation: AlternationRecipe = AlternationRecipe()
    fusion: FusionRecipe = FusionRecipe()
    prediction: PredictionRecipe = PredictionRecipe()

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.data.source_size < self.model.input_size:
            raise ValueError(
                f"data.source_size {self.data.source_size} is smaller than model.input_size "
                f"{self.model.input_size}: the whole photograph would be enlarged; raise one or lower the other"
            )
        if self.alternation.held_scales >= self.model.scales:
            raise ValueError(
                f"alternation.held_scales {self.alternation.held_scales} of model.scales {self.model.scales} leaves "
                "no scale to train: lower it"
            )
        sizes = self.warm_up.size_target
        if isinstance(sizes, tuple) and len(sizes) != self.model.scales - 1:
            raise ValueError(
                f"warm_up.size_target {list(sizes)} does not fit model.scales {self.model.scales}: give one number, "
                f"or one for each of the {self.model.scales - 1} zooms"
            )
        if self.alternation.attention_dropping and self.alternation.held_scales == self.model.scales - 1:
            raise ValueError(
                f"alternation.attention_dropping changes what coarser scales learn, and alternation.held_scales "
                f"{self.alternation.held_scales} leaves only the last one learning: lower held_scales, or "
                "set attention_dropping to 0"
            )
        if self.model.proposals != "apn" and self.trains_apns:
            raise ValueError(
                f"model.proposals {self.model.proposals} uses no APN, so none is trained: set warm_up.epochs and "
                "alternation.rounds to 0 and alternation.objective to alternate"
            )
        return self

    @property
    def trains_apns(self) -> bool:
        """Whether any stage moves the APNs."""
        return bool(self.warm_up.epochs or self.alternation.rounds or self.alternation.objective != "alternate")


def recipe_names() -> list[str]:
    """The names of the recipes that ship in the package, sorted."""
    folder = resources.files("leafzoom") / "recipes"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_recipe(name_or_file: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe that ships in the package, or a TOML file, with `section.key=value` changes applied.

    Raises:
        RecipeError: no such recipe or file, a file that is no TOML, an unknown key, an impossible value.
    """
    content = _read(name_or_file)
    content["name"] = content.get("name", Path(name_or_file).stem)
    for change in changes:
        _apply(content, change)
    return recipe_from_dict(content, name_or_file)


def recipe_from_dict(content: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from nested plain values; `where` names their origin in errors.

    Raises:
        RecipeError: an unknown key or an impossible value.
    """
    try:
        return _ADAPTER.validate_python(_merged(recipe_to_dict(Recipe()), content))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the recipe"
        if first["type"] == "unexpected_keyword_argument":
            known = ", ".join(_keys(first["loc"][:-1]))
            raise RecipeError(f"recipe {where}: unknown key {key}; the keys there are {known}") from error
        message = first["msg"].removeprefix("Value error, ")
        value = first["input"]
        came = "" if isinstance(value, Mapping) or dataclasses.is_dataclass(value) else f", not {value!r}"
        raise RecipeError(f"recipe {where}: {key}: {message}{came}") from error


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Every value of a recipe as nested plain values, as JSON and `recipe_from_dict` take them."""
    plain: dict[str, Any] = _ADAPTER.dump_python(recipe, mode="json")
    return plain


_ADAPTER = TypeAdapter(Recipe)


def _read(name_or_file: str, extended_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """The plain values of a recipe, laid over those of the recipe that it extends."""
    if name_or_file in extended_by:
        raise RecipeError(f"the recipe {name_or_file} extends itself (by way of {', '.join(extended_by)})")
    try:
        if name_or_file in recipe_names():
            text = (resources.files("leafzoom") / "recipes" / f"{name_or_file}.toml").read_text(encoding="utf-8")
        elif Path(name_or_file).is_file():
            text = Path(name_or_file).read_text(encoding="utf-8")
        else:
            raise RecipeError(f"no recipe {name_or_file!r}: give a TOML file or one of {', '.join(recipe_names())}")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {name_or_file}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"the recipe {name_or_file} is no valid TOML: {error}") from error
    base = content.pop("extends", None)
    if base is None:
        return content
    if base not in recipe_names():
        base = str(Path(name_or_file).parent / str(base))  # beside the file that extends it
    below = _read(str(base), (*extended_by, name_or_file))
    below.pop("name", None)
    return _merged(below, content)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _apply(content: dict[str, Any], change: str) -> None:
    """Put one `section.key=value` into nested plain values; the value is read as TOML, else as a string."""
    path, separator, text = change.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise RecipeError(f"--set takes section.key=value, not {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    place = content
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {change}: {key} is a value, not a section")
    place[keys[-1]] = value


def _keys(path: Sequence[str | int]) -> list[str]:
    """The keys of the section at a path of names."""
    section: Any = Recipe()
    for name in path:
        section = getattr(section, str(name))
    return [field.name for field in dataclasses.fields(section)]
