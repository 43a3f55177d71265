"""A margin head for more identities than one device can hold or compare with."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qdgs_lightning.models.heads.arcface import ArcFace
from qdgs_lightning.models.heads.base import MarginHead
from qdgs_lightning.models.heads.checks import (
    HeadError,
    check_batch,
    check_labels,
    check_number,
)
from qdgs_lightning.models.heads.sharded_softmax import (
    GatherBatch,
    ShardedCrossEntropy,
    gather_batch,
)
from qdgs_lightning.models.heads.sharding import (
    cut_rows,
    gather_rows,
    keep_optimizer_whole,
    rows_of_rank,
)
from qdgs_lightning.utils.ranks import rank_and_world_size, sum_over_ranks

_BLOCK = 4096


class SampledHead(nn.Module):
    """Class rows split over the processes, of which each step compares with a random part.

    An et al., "Killing two birds with one stone: Efficient and robust training of face recognition
    CNNs by Partial FC", CVPR 2022. Every process keeps ``C / world_size`` rows and sees the
    embeddings of all: with 8 processes an eighth of memory and work. With `sample_rate` below 1 it
    compares with the rows of the identities in the joined batch and random others only. That many
    rows take part, or as many as the joined batch has samples if those are more, so that all
    identities find room without waiting for the device. Below some 100,000 identities a plain head
    is as fast.

    It returns the loss, since no process has all logits. At sample_rate 1 loss and gradients are
    those of the plain head on the joined batch, whatever the number of processes. Use SGD: rows
    that were not drawn have a gradient of zero, by which momentum and weight decay still move them
    as in Partial FC, and Adam would move them by its own rule. In evaluation there is no margin and
    all rows take part.

    Checkpoints hold one whole matrix and load at any number of processes. So `state_dict` is a
    collective call: every process must make it, as Lightning does when it saves. To train on
    several devices under DDP

    - call `prepare` when processes know each other and before the optimizer is made, in Lightning
      in ``configure_model``, and there
      ``self._ddp_params_and_buffers_to_ignore = names_ignored_by_ddp(self)``, since DDP would
      overwrite all rows with those of rank 0;
    - call `prepare_optimizer` for the momenta, in ``configure_optimizers``;
    - clip gradients of the backbone alone, because the norm of all would differ between processes;
    - give every process batches of one size.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Number C of rows of all processes together; more may be reserved.
        head: Class of the margin, or a function that makes it of two sizes.
        sample_rate: Part of the rows that is compared with in a training step, above 0 and up to 1.
        seed: Seed of the first rows, which do not depend on the number of processes, and of the
            draws, from 0 to 2^32 - 1.

    Attributes:
        weight: The rows of this process, ``[k, d]``; empty before `prepare`.
        margin: Computes cosines and the margin, and has no rows of its own.

    Raises:
        HeadError: A setting is out of range.

    Example:
        >>> head = SampledHead(512, 2_000_000, head=partial(CosFace, margin=0.35), sample_rate=0.1)
        >>> head.prepare()
        >>> loss = head(embeddings, labels)
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        head: Callable[[int, int], MarginHead] = ArcFace,
        sample_rate: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_number("SampledHead", "sample_rate", sample_rate, low=1e-6, high=1)
        check_number("SampledHead", "seed", seed, low=0, high=2**32 - 1)
        if num_classes < 1:
            raise HeadError(f"SampledHead has num_classes={num_classes}; it must be positive.")
        self.embedding_dim = embedding_dim
        self.num_classes = num_classes
        self.sample_rate = sample_rate
        self.seed = seed
        self.margin = head(embedding_dim, 1)
        del self.margin.weight
        self.weight = nn.Parameter(torch.empty(0, embedding_dim))
        self._rows: slice | None = None
        self._steps = 0

    def prepare(self) -> None:
        """Take the rows of this process, once; further calls do nothing.

        They are drawn, or, where one process alone had all (it loaded a checkpoint before the
        others were started), cut out of those.

        Raises:
            HeadError: There are more processes than rows, or another number than when rows were
                taken.
        """
        rank, world_size = rank_and_world_size()
        if world_size > self.num_classes:
            raise HeadError(
                f"{self.num_classes} classes cannot be split over {world_size} processes; use a "
                "plain head such as ArcFace."
            )
        rows = rows_of_rank(self.num_classes, rank, world_size)
        if self._rows == rows:
            return
        if self._rows is None:
            weight = self._first_rows(rows).to(self.weight.device)
        elif len(self.weight) == self.num_classes:
            weight = self.weight.detach()[rows].clone()
        else:
            raise HeadError(
                f"Class rows were split for other processes than the {world_size} there are now; "
                "make the head anew and load a checkpoint."
            )
        self.weight = nn.Parameter(weight)
        self._rows = rows

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean loss of the joined batch; a collective call.

        Args:
            embeddings: Of this process, not normalised, ``[n, d]``, any float type.
            labels: Identities in [0, C), int64, ``[n]``.

        Returns:
            The loss, a scalar in float32, the same in every process.

        Raises:
            HeadError: `prepare` was not called in time, shapes do not fit, a label is out of range,
                or processes have batches of different sizes. For tensors on a GPU the last is not
                looked for, and the last but one stops the program in an assertion of the device.
        """
        start = self._start()
        check_batch("SampledHead", embeddings, labels, self.embedding_dim)
        _check_sizes(labels)
        # Those of all, so that an error stops every process and none waits for another.
        labels = gather_batch(labels)
        check_labels(labels, self.num_classes)
        with torch.autocast(embeddings.device.type, enabled=False):
            dtype = torch.promote_types(embeddings.dtype, torch.float32)
            batch: Tensor = GatherBatch.apply(embeddings.to(dtype))
            columns = labels - start
            columns = torch.where(columns < len(self.weight), columns, -1).clamp_min(-1)
            weight: Tensor = self.weight
            if self.training and self.sample_rate < 1:
                chosen = self._choose(columns)
                weight = weight[chosen]
                columns = torch.where(columns >= 0, torch.searchsorted(chosen, columns), -1)
            logits, norms = self.margin.cosines(batch, weight)
            if self.training:
                logits = self.margin.apply_margin(
                    logits, columns, norms, sum_of_shards=sum_over_ranks
                )
            loss: Tensor = ShardedCrossEntropy.apply(logits.mul_(self.margin.scale), columns)
            return loss

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Do the same as `forward`, under the name that plain heads have for it."""
        loss: Tensor = self(embeddings, labels)
        return loss

    def prepare_optimizer(self, optimizer: Optimizer) -> None:
        """Make an optimizer save and load this head's momenta as whole matrices.

        Its `state_dict` becomes a collective call.

        Raises:
            HeadError: It was made before `prepare`, or without the head's parameters.
        """
        keep_optimizer_whole(optimizer, self.weight, self.num_classes)

    def get_extra_state(self) -> Tensor:
        """Return how many times rows were drawn, so that resumed training draws the next ones."""
        return torch.tensor(self._steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Take what `get_extra_state` returned."""
        self._steps = int(state)

    def _save_to_state_dict(
        self,
        destination: dict[str, Any],
        prefix: str,
        keep_vars: bool,
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._rows is not None:
            destination[f"{prefix}weight"] = gather_rows(self.weight, self.num_classes)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *rest: Any,
    ) -> None:
        key = f"{prefix}weight"
        if key in state_dict:
            self.prepare()
            state_dict = {**state_dict, key: cut_rows(state_dict[key], self.num_classes)}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _start(self) -> int:
        """Return the first of this process's rows."""
        if self._rows != rows_of_rank(self.num_classes, *rank_and_world_size()):
            raise HeadError(
                "SampledHead has no rows for this process yet; call its prepare() when all "
                "processes are started and before the optimizer is made."
            )
        return int(self._rows.start)

    def _choose(self, columns: Tensor) -> Tensor:
        """Draw the rows of this step, in ascending order; those of the batch are among them."""
        count = len(self.weight)
        wanted = max(int(self.sample_rate * count), min(len(columns), count))
        generator = torch.Generator(columns.device)
        rank, _ = rank_and_world_size()
        generator.manual_seed(_mixed(self.seed, 1, rank, self._steps))
        self._steps += 1
        order = torch.rand(count + 1, generator=generator, device=columns.device)
        # What is in other processes (-1) is written to one place more, which is left out.
        order[torch.where(columns >= 0, columns, count)] = 2.0
        return order[:count].topk(wanted).indices.sort().values

    def _first_rows(self, rows: slice) -> Tensor:
        """Draw blocks of the whole matrix, each from its own stream, and keep some rows."""
        kept = []
        for number in range(rows.start // _BLOCK, -(-rows.stop // _BLOCK)):
            block = torch.empty(_BLOCK, self.embedding_dim, device="cpu")
            generator = torch.Generator().manual_seed(_mixed(self.seed, 0, number))
            self.margin.draw_rows(block, generator)
            start = number * _BLOCK
            kept.append(block[max(rows.start - start, 0) : rows.stop - start])
        return torch.cat(kept)


def names_ignored_by_ddp(module: nn.Module) -> list[str]:
    """Name the parameters in a module that differ between processes and DDP must leave alone."""
    return [
        f"{name}.weight" if name else "weight"
        for name, child in module.named_modules()
        if isinstance(child, SampledHead)
    ]


def _mixed(*numbers: int) -> int:
    """Make one seed of several numbers."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _check_sizes(labels: Tensor) -> None:
    """Refuse batches that differ in size, where looking does not make a device wait."""
    world_size = rank_and_world_size()[1]
    if world_size == 1 or labels.device.type == "cuda":
        return
    sizes = gather_batch(torch.tensor([len(labels)])).tolist()
    if len(set(sizes)) > 1:
        raise HeadError(
            f"Processes have batches of {sizes} samples; give all the same, for example by "
            "drop_last=True."
        )
