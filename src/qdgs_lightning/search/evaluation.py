"""Ask a generator and guidance what a batch of latents is worth, and in which direction."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.search.processes import add_up, stop_together
from qdgs_lightning.utils.ranks import rank_and_world_size

# How many rows of a generator memory has been found to hold, with gradients and without.
_fitting: WeakKeyDictionary[Generator, dict[bool, int]] = WeakKeyDictionary()


class EvaluationError(QDGSError):
    """A generator or guidance returned something that a search cannot use."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What is known of n latents; float32, on the CPU.

    Attributes:
        objective: How good the images are; more is better. Shape ``[n]``.
        measures: Where they lie in measure space. Shape ``[n, k]``.
        jacobian: Gradients with respect to the flattened latent, the objective's first and then
            one per measure, uphill. Shape ``[n, 1 + k, D]``; None unless asked for.
    """

    objective: Tensor
    measures: Tensor
    jacobian: Tensor | None


def evaluate(
    generator: Generator,
    guidance: Guidance,
    latents: Tensor,
    *,
    jacobian: bool = False,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Evaluated:
    """Evaluate latents, on one process or on several.

    One forward pass serves the objective, all measures and, by one vector-Jacobian product each,
    their gradients. Work is cut into chunks of `batch_size` rows whatever the number of
    processes; where `torch.distributed` is initialised, chunk c is computed by rank c modulo the
    number of ranks and every rank returns all rows. One process and many therefore return the
    same bits, and every rank must call with the same latents. If one of them fails, all stop.

    A chunk that memory does not hold is evaluated in halves, or halves of these, by the process
    whose chunk it is; later chunks of this generator are then cut as finely at once. This may
    change the last bits of results, on all processes alike.

    Args:
        generator: Prepared, on the device to compute on.
        guidance: Prepared, on the same device.
        latents: Shape ``[n, *generator.latent_shape]``.
        jacobian: Whether to return gradients as well.
        batch_size: Rows per forward pass.
        progress: Called with the number of rows done so far after each chunk, or where there are
            several processes, after a chunk of each.

    Returns:
        Float32 tensors on the CPU.

    Raises:
        EvaluationError: The latents have another shape than the generator's, or the generator or
            the guidance returned wrong shapes, numbers that are not finite, or a result without
            gradient, or memory does not hold a single row.
        ProcessError: Another process is gone, or has failed.
    """
    if tuple(latents.shape[1:]) != tuple(generator.latent_shape):
        raise EvaluationError(
            f"Latents of shape {tuple(latents.shape)} do not fit {type(generator).__name__}, "
            f"which takes [n, {', '.join(map(str, generator.latent_shape))}]; use latents and "
            "archives made with this generator."
        )
    num_rows, num_values = len(latents), 1 + len(guidance.measure_names)
    width = 1 + num_values * (1 + generator.latent_size * jacobian)
    rank, world = rank_and_world_size()
    device = device_of(generator, guidance)
    rows = torch.zeros(num_rows, width)

    def compute(part: Tensor) -> Tensor:
        part = part.detach().to(device, torch.float32)
        return _evaluate_part(generator, guidance, part, jacobian=jacobian)

    # Processes meet after a chunk of each, not once at the end: whoever is faster then waits for
    # one chunk at most, however long the evaluation is, and the group's timeout holds for any.
    for start in range(0, num_rows, batch_size * world):
        end = min(start + batch_size * world, num_rows)
        first = start + batch_size * rank
        last = min(first + batch_size, end)
        failure = None
        try:
            if first < last:
                rows[first:last] = _in_fitting_parts(
                    generator, compute, latents[first:last], jacobian=jacobian
                )
        except Exception as error:
            failure = error
        _share(rows[start:end], failure)
        if progress is not None:
            progress(end)
    return _unpack(generator, guidance, rows, num_values=num_values, jacobian=jacobian)


def draw_images(generator: Generator, latents: Tensor) -> Tensor:
    """Draw images on this process alone, in as many parts as memory asks for.

    Args:
        generator: Prepared, on the device to compute on.
        latents: Shape ``[n, *generator.latent_shape]``.

    Returns:
        RGB in [0, 1], shape ``[n, 3, S, S]``, on the CPU.

    Raises:
        EvaluationError: Memory does not hold a single image.
    """
    device = device_of(generator)

    def compute(part: Tensor) -> Tensor:
        with torch.no_grad():
            images: Tensor = generator(part.to(device, torch.float32))
        return images.cpu()

    return _in_fitting_parts(generator, compute, latents, jacobian=False)


def _in_fitting_parts(
    generator: Generator, compute: Callable[[Tensor], Tensor], latents: Tensor, *, jacobian: bool
) -> Tensor:
    """Compute all rows at once, or in parts where memory has been found too small for that."""
    known = dict(_fitting.get(generator, {}))
    rows = min(len(latents), known.get(jacobian, len(latents)))
    parts: list[Tensor] = []
    done = 0
    while done < len(latents):
        part = latents[done : done + rows]
        try:
            parts.append(compute(part))
        except torch.OutOfMemoryError as error:
            if len(part) == 1:
                raise EvaluationError(
                    f"Memory does not hold what a single latent of {type(generator).__name__} "
                    "takes; use a device with more of it, or a smaller generator or guidance."
                ) from error
        else:
            done += len(part)
            continue
        # Only here, where the error is gone, is what the failed pass had made free again.
        torch.cuda.empty_cache()
        rows = len(part) // 2
        _fitting.setdefault(generator, {})[jacobian] = rows
    if not known and generator in _fitting:
        warnings.warn(
            f"Memory does not hold {len(latents)} latents of {type(generator).__name__} at a time: "
            f"from now on {rows} are evaluated at once; set search.evaluation_batch_size to that, "
            "to be spared the failed attempts.",
            stacklevel=2,
        )
    return torch.cat(parts)


def _evaluate_part(
    generator: Generator, guidance: Guidance, latents: Tensor, *, jacobian: bool
) -> Tensor:
    """Return one row per latent: whether its image is finite, values, flattened Jacobian."""
    num_measures = len(guidance.measure_names)
    with torch.set_grad_enabled(jacobian):
        latents = latents.requires_grad_(jacobian)
        images = generator(latents)
        objective, measures = guidance(images, latents)
        if objective.shape != (len(latents),) or measures.shape != (len(latents), num_measures):
            raise EvaluationError(
                f"{type(guidance).__name__} returned an objective of shape "
                f"{tuple(objective.shape)} and measures of shape {tuple(measures.shape)} for "
                f"{len(latents)} images and {num_measures} measure names; its forward must "
                "return [n] and [n, number of measure_names]."
            )
        values = torch.cat([objective[:, None], measures], dim=1)
        finite = images.detach().flatten(1).isfinite().all(dim=1)
        columns = [finite[:, None], values.detach()]
        if jacobian:
            columns.append(_jacobian(generator, guidance, values, latents).flatten(1))
    return torch.cat([column.to("cpu", torch.float32) for column in columns], dim=1)


def _jacobian(generator: Generator, guidance: Guidance, values: Tensor, latents: Tensor) -> Tensor:
    """Differentiate [n, m] values by [n, *latent_shape] latents, to [n, m, D]."""
    if not values.requires_grad:
        raise EvaluationError(
            f"What {type(guidance).__name__} says of images of {type(generator).__name__} has no "
            "gradient; use differentiable ones, or search.algorithm 'map_elites' or 'random'."
        )
    # Row i depends on latent i alone, so the gradient of a column's sum holds every row's own. One
    # column after the other takes half the time of is_grads_batched, measured on one CPU core with
    # the convolutions of the small CLIP: batched over vectors, those fall back to grouped ones.
    # Columns that need no image come from a graph of their own: out of the common one each would
    # send zeros back through guidance and generator.
    apart = guidance.latent_measures(latents)
    columns = (*values[:, : values.shape[1] - apart.shape[1]].unbind(dim=1), *apart.unbind(dim=1))
    gradients = [
        torch.autograd.grad(
            column.sum(),
            latents,
            retain_graph=column is not columns[-1],
            allow_unused=True,
            materialize_grads=True,
        )[0].flatten(1)
        for column in columns
    ]
    return torch.stack(gradients, dim=1)


def _unpack(
    generator: Generator, guidance: Guidance, rows: Tensor, *, num_values: int, jacobian: bool
) -> Evaluated:
    """Take rows apart, after making sure that nothing in them is NaN or infinite."""
    if not rows[:, 0].bool().all():
        raise EvaluationError(_not_finite(generator, "an image", rows[:, 0] == 0))
    if not (finite := rows.isfinite().all(dim=1)).all():
        raise EvaluationError(_not_finite(guidance, "a value or gradient", ~finite))
    values = rows[:, 1 : 1 + num_values]
    gradients = None
    if jacobian:
        size = generator.latent_size
        gradients = rows[:, 1 + num_values :].reshape(len(rows), num_values, size).contiguous()
    return Evaluated(
        objective=values[:, 0].clone(),
        measures=values[:, 1:].clone(),
        jacobian=gradients,
    )


def _not_finite(culprit: Generator | Guidance, what: str, bad: Tensor) -> str:
    """Say who returned numbers that are not finite, and for how many latents."""
    return (
        f"{type(culprit).__name__} returned {what} that is NaN or infinite for "
        f"{int(bad.sum())} of {len(bad)} latents; check its weights and the step sizes of the "
        "search."
    )


def _share(rows: Tensor, failure: Exception | None) -> None:
    """Give every process the rows of all; what a process did not compute is zero there.

    If the work of one has failed, all of them stop; they learn of it by the same collective call.
    """
    if rank_and_world_size()[1] == 1:
        if failure is not None:
            raise failure
        return
    # Added as integers, zero changes no bit of any float: as floats it would turn -0.0 into 0.0.
    failed = torch.tensor([failure is not None], dtype=torch.int32)
    bits = torch.cat([rows.view(torch.int32).flatten(), failed])
    add_up(bits)
    if bits[-1]:
        stop_together(failure)
    rows.copy_(bits[:-1].view(torch.float32).view_as(rows))


def device_of(generator: Generator, guidance: Guidance | None = None) -> torch.device:
    """Where the weights lie."""
    judging = guidance.parameters() if guidance is not None else ()
    tensors = chain(generator.parameters(), generator.buffers(), judging)
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
