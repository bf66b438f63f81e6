"""Loss and accuracy of a network on labelled images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.task import Task
from pipeline.training.device import disable_tf32
from pipeline.training.network import logits, normalise


def measure(task: Task, network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on uint8 images [N, H, W], computed in float32.

    Leaves the network in evaluation mode.
    """
    disable_tf32()
    network.eval()
    with torch.inference_mode():
        scores = torch.cat([logits(network, normalise(batch, task)) for batch in images.split(500)])
        loss = F.cross_entropy(scores, labels)
        return loss.item(), (scores.argmax(1) == labels).float().mean().item()
