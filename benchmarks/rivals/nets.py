"""The nets of the benchmark: each small enough for many runs on one core."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu


class DigitsMLP(nn.Module):
    """64-32-10, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.fc2(torch.tanh(self.fc1(x)))


class LeNet300(nn.Module):
    """784-300-100-10, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


class LeNet5(nn.Module):
    """Two convolutions and three dense layers, ReLU: 44,426 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(256, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = max_pool2d(relu(self.conv1(x)), 2)
        x = max_pool2d(relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(relu(self.fc2(relu(self.fc1(x)))))


class Block(nn.Module):
    """Two convolutions with batch normalisation, and a way around them."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.around = nn.Sequential()
        if stride > 1 or width != out:
            self.around = nn.Sequential(
                nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + self.around(x))


class ResNet(nn.Module):
    """Two residual blocks of 16 and 32 channels for images of 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 16, 2), Block(16, 32, 2))
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.fc(self.blocks(relu(self.bn(self.conv(x)))).mean((2, 3)))


class LSTM(nn.Module):
    """Reads an image line by line; the last of 48 hidden states says what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(14, 48, batch_first=True)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.fc(self.lstm(x)[0][:, -1])


NETS: dict[str, Callable[[], nn.Module]] = {
    "digits": DigitsMLP,
    "lenet300": LeNet300,
    "lenet5": LeNet5,
    "resnet": ResNet,
    "lstm": LSTM,
}
