"""The smallest real module and data, for tests of the command line and of the loggers."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class BoringTask(LightningModule):
    """Fits a line by least squares.

    Args:
        lr: Learning rate.
        width: Number of inputs.
    """

    def __init__(self, *, lr: float = 0.1, width: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.line = nn.Linear(width, 1)

    def _loss(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.mse_loss(self.line(batch[0]).squeeze(1), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Log and return the loss."""
        loss = self._loss(batch)
        self.log("train/loss", loss)
        return loss

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log the loss, and the learning rate that this object was made with."""
        self.log("test/loss", self._loss(batch))
        self.log("test/lr", self.lr)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class BoringData(LightningDataModule):
    """Points on a line.

    Args:
        size: Number of points.
        width: Number of inputs.
    """

    def __init__(self, *, size: int = 8, width: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.size = size
        self.width = width

    def _loader(self) -> DataLoader[tuple[Tensor, ...]]:
        inputs = torch.linspace(0, 1, self.size * self.width).reshape(self.size, self.width)
        return DataLoader(TensorDataset(inputs, inputs.sum(1)), batch_size=4)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All points."""
        return self._loader()

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All points."""
        return self._loader()
