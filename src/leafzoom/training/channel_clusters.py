"""What the channel grouping of an MA-CNN starts from: channels that respond at the same places."""

from __future__ import annotations

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from leafzoom.dataset.batches import DatasetPart, plain_batches
from leafzoom.model.macnn import MACNN, peaks

__all__ = ["channel_peaks", "cluster_channels"]

_BATCH_SIZE = 32
_STARTS = 10  # of k-means, of which the best one is kept


@torch.no_grad()
def channel_peaks(fabric: Fabric, macnn: MACNN, part: DatasetPart) -> NDArray[np.float32]:
    """Where each channel of the backbone's last map responds most, [C, 2n].

    In photographs to which a channel does not respond, it has the mean of its other peaks.

    Args:
        fabric: device and precision.
        macnn: whose backbone looks, in eval().
        part: n photographs, as they are.

    Returns:
        A row a channel: x and y in each photograph, as fractions of the map's side.
    """
    macnn.eval()
    places = []
    responses = []
    for batch in plain_batches(part, batch_size=_BATCH_SIZE, device=fabric.device):
        with fabric.autocast():
            whole = macnn.start(macnn.normalise(batch.images))
        features = whole.last_map.float()
        flat = features.flatten(2)
        places.append(peaks(features).cpu())
        responses.append((flat.amax(dim=2) > flat.amin(dim=2)).cpu())

    # Without any response, the map's centre.
    place = torch.cat(places)
    is_response = torch.cat(responses)[:, :, None]
    count = is_response.sum(dim=0)
    mean = (place * is_response).sum(dim=0) / count.clamp(min=1)
    mean = torch.where(count > 0, mean, 0.5)
    filled = torch.where(is_response, place, mean)
    rows: NDArray[np.float32] = filled.transpose(0, 1).flatten(1).numpy()
    return rows


def cluster_channels(rows: NDArray[np.float32], parts: int, seed: int) -> Tensor:
    """Which part each channel belongs to, by k-means over its peaks: [P, C], 0 or 1.

    Args:
        rows: [C, 2n] (see `channel_peaks`).
        parts: P.
        seed: of the first centres.
    """
    clustering = KMeans(n_clusters=parts, n_init=_STARTS, random_state=seed % 2**32)
    cluster = clustering.fit_predict(rows)
    members = cluster[None, :] == np.arange(parts)[:, None]
    return torch.from_numpy(members.astype(np.float32))
