"""What all margin heads have in common: cosines in float32, and a margin at the target alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs_lightning.models.heads.checks import (
    HeadError,
    check_batch,
    check_choice,
    check_labels,
    check_number,
)

Gradient = Literal["exact", "straight_through"]

_CLAMP = 1e-7


class MarginHead(nn.Module, ABC):
    r"""Scaled cosines between embeddings and one row per identity, made harder at the target.

    The softmax over :math:`s \cos\theta_j` of NormFace (Wang et al., ACM MM 2017), whose target
    logit a subclass lowers by a margin. A new head is one subclass: it says in `target_logits` what
    becomes of the target's cosine, and if need be overrides `other_logits` and `observe`.

    In training the margin is applied. In evaluation the logits are plain scaled cosines, so that
    their argmax is the recognised identity and their cross-entropy a comparable loss, and labels
    may be left out; nothing that a head keeps about its batches moves.

    All is computed in float32, also under autocast, since half precision rounds 1 - 1e-4 to 1,
    where the arc cosine has no finite slope; the target's cosine is kept 1e-7 away from -1 and 1
    for the same reason. float64 embeddings are computed in float64. Only the target column is
    touched: the memory is that of one ``[n, C]`` matrix.

    The two kinds of gradient give the same loss:

    - ``exact`` is the derivative of the loss (the published code of AdaFace and CurricularFace).
    - ``straight_through`` treats what the margin adds as a constant, so that the gradient with
      respect to the target's cosine is :math:`s (p_y - 1)`. arcface_torch and CVLface train so. For
      ArcFace it lacks the factor :math:`\sin(\theta + m) / \sin\theta`, which is large for small
      angles and below one for large ones. Without an angle (CosFace) both are the same.

    Args:
        embedding_dim: Size d of an embedding.
        num_classes: Rows C of the weight. It may exceed the identities in use, so that later ones
            find free rows; until then those rows only act as wrong answers.
        scale: The factor s on the cosines.
        gradient: See above.

    Attributes:
        weight: One row per identity, not normalised, ``[C, d]``; drawn from torch's global stream
            like the weights of any layer.

    Raises:
        HeadError: A size or the scale is not positive, or `gradient` is unknown.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if embedding_dim < 1 or num_classes < 1:
            raise HeadError(
                f"{name} has embedding_dim={embedding_dim} and num_classes={num_classes}; both "
                "must be positive."
            )
        check_number(name, "scale", scale, low=1e-6, high=1e6)
        check_choice(name, "gradient", gradient, ("exact", "straight_through"))
        self.embedding_dim = embedding_dim
        self.num_classes = num_classes
        self.scale = scale
        self.gradient = gradient
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim))
        self.draw_rows(self.weight)

    @abstractmethod
    def target_logits(self, cosines: Tensor, norms: Tensor) -> Tensor:
        """Apply the margin.

        Args:
            cosines: Of every embedding with the row of its label, within (-1, 1), ``[n]``.
            norms: Lengths of the embeddings, with their gradient, ``[n]``.

        Returns:
            What takes their place, not yet scaled, ``[n]``.
        """

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Change the other cosines; here they stay as they are.

        Args:
            cosines: Of every embedding with every row, ``[n, k]``; what is returned for the target
                itself does not count.
            target_cosines: Of every embedding with the row of its label, without gradient, ``[n]``.

        Returns:
            What takes their place, not yet scaled, ``[n, k]``.
        """
        return cosines

    def observe(self, cosines: Tensor, norms: Tensor, here: Tensor) -> None:
        """Update statistics before they are used, in training only; here there are none.

        Every process calls this in every step, so that it may sum over processes.

        Args:
            cosines: Of every embedding with the row of its label, ``[n]``.
            norms: Lengths of the embeddings, ``[n]``.
            here: Which of them this process counts, bool, ``[n]``; each is counted by one process.
        """

    def draw_rows(self, rows: Tensor, generator: torch.Generator | None = None) -> None:
        """Fill rows with initial values of standard deviation 0.01, as arcface_torch does.

        Args:
            rows: To be overwritten, ``[n, d]``.
            generator: Source of the randomness; ``None`` for torch's global stream.
        """
        nn.init.normal_(rows, std=0.01, generator=generator)

    def prepare(self) -> None:
        """Do nothing; `SampledHead` takes its rows here, once processes know each other."""

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute logits for a cross-entropy.

        Args:
            embeddings: As the backbone gives them, not normalised, ``[n, d]``, any float type.
            labels: Identities in [0, C), int64, ``[n]``; needed in training.

        Returns:
            Scaled logits, float32, ``[n, C]``.

        Raises:
            HeadError: Shapes do not fit, or a label is out of range. On a GPU, where looking would
                mean waiting, such a label stops the program in an assertion of the device instead.
        """
        check_batch(type(self).__name__, embeddings, labels, self.embedding_dim)
        if labels is not None:
            check_labels(labels, self.num_classes)
        elif self.training:
            raise HeadError(f"{type(self).__name__} needs labels in training; call it with both.")
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines, norms = self.cosines(embeddings, self.weight)
            if labels is not None and self.training:
                cosines = self.apply_margin(cosines, labels, norms)
            return cosines.mul_(self.scale)

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of `forward`, as `SampledHead` does too."""
        logits = self(embeddings, labels)
        with torch.autocast(logits.device.type, enabled=False):
            return functional.cross_entropy(logits, labels)

    def cosines(self, embeddings: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines with all rows ``[n, k]`` and lengths of the embeddings ``[n]``."""
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        embeddings, weight = embeddings.to(dtype), weight.to(dtype)
        directions = functional.normalize(weight)
        cosines = functional.linear(functional.normalize(embeddings), directions)
        return cosines, torch.linalg.vector_norm(embeddings, dim=1)

    def apply_margin(
        self,
        cosines: Tensor,
        columns: Tensor,
        norms: Tensor,
        *,
        sum_of_shards: Callable[[Tensor], Tensor] = lambda found: found,
    ) -> Tensor:
        """Put the margin into the columns of the targets, in place.

        No step waits for the device: where a target is in another process, the work is done on some
        column all the same, and thrown away.

        Args:
            cosines: ``[n, k]``; overwritten.
            columns: Where the targets are, ``[n]``; -1 for one that another process has.
            norms: Lengths of the embeddings, ``[n]``.
            sum_of_shards: Adds up a ``[n]`` vector over the processes that share the rows.

        Returns:
            Logits, not yet scaled, ``[n, k]``.
        """
        here = columns >= 0
        places = columns.clamp_min(0)
        rows = torch.arange(len(cosines), device=cosines.device)
        plain = cosines[rows, places]
        targets = plain.clamp(_CLAMP - 1, 1 - _CLAMP)
        known = sum_of_shards(torch.where(here, targets.detach(), 0.0))
        with torch.no_grad():
            self.observe(known, norms, here)
        if self.gradient == "exact":
            changed = self.target_logits(targets, norms)
        else:
            with torch.no_grad():
                changed = self.target_logits(targets, norms)
            changed = changed + (plain - plain.detach())  # adds zeros that have a gradient
        logits = self.other_logits(cosines, known)
        kept = plain if logits is cosines else logits[rows, places]
        difference = torch.where(here, changed - kept, 0.0)
        return logits.scatter_add_(1, places[:, None], difference[:, None])
