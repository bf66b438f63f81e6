"""Loss and accuracy of an epoch so far, summed on the device and read only when asked for."""

import torch
from torch import Tensor

NEVER = 2**62


class Totals:
    """Sums over the steps of an epoch. Only reading waits until a GPU has finished its steps."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct, self.images, self.steps, self.first_not_finite = (
            torch.zeros((), dtype=torch.int64, device=device) for _ in range(4)
        )
        self.clear()

    def clear(self) -> None:
        """Start an epoch."""
        for total in (self.loss, self.correct, self.images, self.steps):
            total.zero_()
        self.first_not_finite.fill_(NEVER)

    @torch.no_grad()
    def add(self, loss: Tensor, scores: Tensor, targets: Tensor) -> None:
        """Add a step: its mean loss, its logits [N, classes] and its labels [N]."""
        self.loss += loss.double() * len(targets)
        self.correct += (scores.argmax(1) == targets).sum()
        self.images += len(targets)
        self.steps += 1
        bad = torch.where(loss.isfinite(), NEVER, self.steps)
        torch.minimum(self.first_not_finite, bad, out=self.first_not_finite)

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy of the images so far."""
        images = self.images.item()
        return self.loss.item() / images, self.correct.item() / images

    def failed_step(self) -> int | None:
        """Return the number, from 1, of the first step whose loss was infinite or NaN."""
        step = int(self.first_not_finite.item())
        return None if step == NEVER else step
