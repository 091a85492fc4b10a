"""What the processes of one training do together: gradients, metrics, decisions.

Every process has a whole copy of the networks and takes its share of every batch. A phase calls
parts of a network by themselves and runs a backward pass for each scale, so the gradients are added
up before each step of an optimizer, not by a wrapper around one module's forward pass. With one
process each function here gives back what it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from lightning.fabric import Fabric
from timm.layers import convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.shares import Share
from leafzoom.errors import TrainingError
from leafzoom.fitting.optimization import Optimization

__all__ = [
    "LostProcessError",
    "by_the_first",
    "equal_weights",
    "first_before_others",
    "has_batch_norms",
    "mean_over_processes",
    "share_gradients",
    "share_of",
    "shared_outputs",
    "synchronise_batch_norms",
    "wait_for_all",
]

Result = TypeVar("Result")


class LostProcessError(TrainingError):
    """Another process of the training has ended."""


def share_of(fabric: Fabric) -> Share:
    """This process's share of every batch."""
    return Share(fabric.global_rank, fabric.world_size)


def share_gradients(fabric: Fabric, optimization: Optimization) -> None:
    """Let an optimizer add up the gradients of all processes before each step.

    Each process has scaled its loss by its share of the batch, so the sum is the whole batch's
    gradient, whatever the sizes of the shares.
    """
    if fabric.world_size > 1:
        optimization.before_step = partial(_sum_gradients, optimization.optimizer)


def mean_over_processes(
    fabric: Fabric, values: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Means over a whole batch, from those over each process's share of it.

    Args:
        fabric: of the processes.
        values: means of this process's photographs, by name.
        share: of the batch that these photographs are, 0..1.
    """
    if fabric.world_size == 1:
        return dict(values)
    total = share * torch.stack([value.detach().float() for value in values.values()])
    with _connected():
        distributed.all_reduce(total)
    return dict(zip(values, total, strict=True))


def shared_outputs(
    fabric: Fabric, part: DatasetPart, compute: Callable[[DatasetPart], Result]
) -> list[Result]:
    """What all processes compute of consecutive shares of a part, in order, for each of them.

    Args:
        fabric: of the processes.
        part: some photographs; fewer than processes are not shared.
        compute: gives plain values or arrays.
    """
    if fabric.world_size == 1 or len(part) < fabric.world_size:
        return [compute(part)]

    own = replace(part, rows=part.rows[share_of(fabric).of(len(part))])
    results: list[Result | None] = [None] * fabric.world_size
    computed = compute(own)
    with _connected():
        distributed.all_gather_object(results, computed)
    return [result for result in results if result is not None]


def by_the_first(fabric: Fabric, compute: Callable[[], Result]) -> Result:
    """What the first process computes, in all of them."""
    if fabric.world_size == 1:
        return compute()
    result = compute() if fabric.is_global_zero else None
    with _connected():
        received: Result = fabric.broadcast(result)  # type: ignore[assignment]
    return received


@contextmanager
def first_before_others(fabric: Fabric) -> Iterator[None]:
    """The block runs in the first process, and only then in the others."""
    if not fabric.is_global_zero:
        wait_for_all(fabric)
    yield
    if fabric.is_global_zero:
        wait_for_all(fabric)


def wait_for_all(fabric: Fabric) -> None:
    """Wait until all processes are here."""
    if fabric.world_size > 1:
        with _connected():
            fabric.barrier()


@torch.no_grad()
def equal_weights(fabric: Fabric, module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if fabric.world_size == 1:
        return
    with _connected():
        for tensor in module.state_dict().values():
            own = tensor.contiguous()
            distributed.broadcast(own, src=0)
            tensor.copy_(own)


def has_batch_norms(module: nn.Module) -> bool:
    """Whether a module has batch norms that are not folded."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def synchronise_batch_norms(fabric: Fabric, module: nn.Module) -> None:
    """Let the batch norms of a module see the batches of all processes, in place.

    Parameters stay the same objects, and the tensors keep their names.
    """
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        convert_sync_batchnorm(module)


@torch.no_grad()
def _sum_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Replace the gradients that an optimizer reads by their sums over all processes."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)

    # One message for all gradients of a type.
    for gradients in by_type.values():
        total = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _connected():
            distributed.all_reduce(total)
        parts = torch.split(total, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


@contextmanager
def _connected() -> Iterator[None]:
    """Turn a failed exchange between processes into an error of ours."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise LostProcessError(
            f"another process of the training has ended ({reason}): go on with --resume"
        ) from error
