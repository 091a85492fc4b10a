"""A moving average of the weights over the steps of a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The exponential moving average of a module's parameters and buffers.

    The statistics of batch norms are averaged like weights, so that they fit these; their counters
    of batches are copied. Folded batch norms have none. What stays frozen stays as it is, bit for
    bit.

    After n steps the decay is (1 + n) / (10 + n) at most, as TensorFlow's moving averages have it:
    a short training is not held back by the weights that it started from.

    Args:
        module: whose tensors are averaged; it is copied.
        decay: the weight of the average in each step, 0..1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.averaged = AveragedModel(module, multi_avg_fn=self._average, use_buffers=True)

    def update(self) -> None:
        """Take the module's present tensors into the average."""
        self.averaged.update_parameters(self.module)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Exchange the module's tensors for the average, and back afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep(self) -> None:
        """Give the module the average for good."""
        self.module.load_state_dict(self.averaged.module.state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """The average and the number of steps."""
        state: dict[str, Tensor] = self.averaged.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.averaged.load_state_dict(state)

    @torch.no_grad()
    def _exchange(self) -> None:
        average = self.averaged.module.state_dict()
        for name, tensor in self.module.state_dict().items():
            own = tensor.clone()
            tensor.copy_(average[name])
            average[name].copy_(own)

    def _average(
        self, averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int
    ) -> None:
        """One step of the average, in place, of tensors of one type."""
        if not averaged[0].is_floating_point():
            for average, tensor in zip(averaged, current, strict=True):
                average.copy_(tensor)
            return

        count = int(steps)
        decay = min(self.decay, (1 + count) / (10 + count))
        step = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        step(averaged, current, steps)
