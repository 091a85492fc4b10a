"""All scales of an RA-CNN in one graph, for objectives that detach nothing (§3.3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.phases import exact_match, share_of_surrogate

__all__ = ["attached_scales", "summed_loss"]


def attached_scales(racnn: RACNN, images: Tensor, share: float = 1.0) -> tuple[ScaleState, ...]:
    """All scales of images [B, 3, S, S] in 0..1, coarsest first.

    A finer scale's loss reaches the coarser ones through the crop, the APN and its map (figure 6).
    `share`: of the whole batch that the images are (see `share_of_surrogate`).
    """
    states = [racnn.start(racnn.normalise(images))]
    for _ in racnn.apns:
        proposals = share_of_surrogate(racnn, racnn.propose(states[-1]), share)
        states.append(racnn.advance(states[-1], proposals))
    return tuple(states)


def summed_loss(
    states: Sequence[ScaleState], targets: Tensor, loss: ClassifierLoss
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of all scales' classification losses, and what the log has of each scale.

    Args:
        states: of all scales, coarsest first.
        targets: [B, L].
        loss: of every scale.
    """
    losses = [loss(state.logits, targets) for state in states]
    logged = {}
    for scale, (state, scale_loss) in enumerate(zip(states, losses, strict=True), start=1):
        logged[f"loss_scale{scale}"] = scale_loss.detach()
        logged[f"exact_match_scale{scale}"] = exact_match(
            state.logits, targets, single_label=loss.single_label
        )

    return sum(losses[1:], start=losses[0]), logged
