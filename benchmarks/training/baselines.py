"""Two well-known recipes for MNIST, written from their descriptions.

As published, both load images one by one through PIL and a DataLoader and train in float32.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pipeline.mnist import TASK
from pipeline.training.network import build_network


class Digits(Dataset[tuple[Tensor, int]]):
    """Images, uint8 [N, 28, 28], as PIL images through a transform, as torchvision's MNIST is."""

    def __init__(
        self, images: Tensor, labels: Tensor, transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


def train_original(
    images: Tensor, labels: Tensor, seed: int, epochs: int = 19, workers: int = 1
) -> Iterator[nn.Sequential]:
    """The same network with the original's recipe; yields it after each of the 19 epochs.

    SGD at 0.01 with momentum 0.9, a tenth of that after 12 epochs, batches of 128, dropout; with
    probability 0.1 the centre of 22 x 22 pixels enlarged to 28 x 28; rotation by up to 15 degrees.
    """
    torch.manual_seed(seed)
    transform = transforms.Compose(
        [
            transforms.RandomApply([transforms.CenterCrop(22)], p=0.1),
            transforms.Resize((28, 28)),
            transforms.RandomRotation((-15.0, 15.0), fill=0),
            transforms.ToTensor(),
            transforms.Normalize((TASK.mean,), (TASK.std,)),
        ]
    )
    loader = DataLoader(Digits(images, labels, transform), 128, shuffle=True, num_workers=workers)
    network = build_network(TASK, (0.02, 0.02, 0.02, 0.01))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    return _train(network, loader, optimizer, StepLR(optimizer, 12, 0.1), epochs)


def train_example(
    images: Tensor, labels: Tensor, seed: int, epochs: int = 14, workers: int = 0
) -> Iterator[nn.Sequential]:
    """The example network of PyTorch, 1,199,882 parameters; yields it after each of 14 epochs.

    Adadelta at 1.0, 0.7 times that after each epoch, batches of 64, no augmentation.
    """
    torch.manual_seed(seed)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((TASK.mean,), (TASK.std,))]
    )
    loader = DataLoader(Digits(images, labels, transform), 64, shuffle=True, num_workers=workers)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    return _train(network, loader, optimizer, StepLR(optimizer, 1, 0.7), epochs)


def _train(
    network: nn.Sequential,
    loader: DataLoader[tuple[Tensor, int]],
    optimizer: torch.optim.Optimizer,
    schedule: StepLR,
    epochs: int,
) -> Iterator[nn.Sequential]:
    for _ in range(epochs):
        network.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(inputs).flatten(1), labels).backward()
            optimizer.step()
        schedule.step()
        yield network
