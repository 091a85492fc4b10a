"""How large the squares are that a network's photos are squashed to."""

from __future__ import annotations

from leafzoom.errors import UsageError
from leafzoom.inference.network import Network
from leafzoom.source_size import SourceSize

__all__ = ["source_sizes_of"]


def source_sizes_of(network: Network, source_size: int | None = None) -> SourceSize:
    """The sides of the sources for a network.

    Args:
        network: from `open_network`.
        source_size: one side for all photos; None: as each photo's pixels carry, from the side that
            the network was trained with to the greatest that it was measured with.

    Raises:
        UsageError: a side that the network does not take.
    """
    manifest = network.manifest
    possible = network.source_sizes
    if source_size is None:
        greatest = min(manifest.max_source_size, possible[-1])
        return SourceSize(manifest.source_size, max(greatest, manifest.source_size))

    if source_size not in possible:
        if len(possible) == 1:
            raise UsageError(
                f"the model {manifest.name} takes sources of {possible[0]} pixels alone, not "
                f"{source_size}: models that this leafzoom exports take others too"
            )
        raise UsageError(
            f"the model {manifest.name} takes sources of {possible[0]} to {possible[-1]} pixels, "
            f"not {source_size}"
        )
    return SourceSize(source_size, source_size)
