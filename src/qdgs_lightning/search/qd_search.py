"""Quality-diversity search over the latents of a generator."""

from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ribs.schedulers import Scheduler
from torch import Tensor

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.search.archive import Archive, ArchiveMetadata, ArchiveStats
from qdgs_lightning.search.calibration import Calibration, calibrate
from qdgs_lightning.search.config import SearchConfig, SearchError
from qdgs_lightning.search.emitters.factory import (
    GRADIENT_ALGORITHMS,
    Seeds,
    Start,
    as_int,
    make_scheduler,
)
from qdgs_lightning.search.evaluation import Evaluated, device_of, evaluate
from qdgs_lightning.search.origin import as_json, check_origin
from qdgs_lightning.search.persistence.packed_archive import PackedGridArchive
from qdgs_lightning.search.persistence.pyribs_state import (
    archives_of,
    capture,
    capture_scheduler,
    copied,
    restore,
    restore_scheduler,
)
from qdgs_lightning.search.persistence.tree_file import ArchiveError, read_tree, write_tree

UNTIL = "until"
_PACKAGES = ("qdgs-lightning", "ribs", "numpy", "torch")


class QDSearch:
    """A search for latents whose images are good and cover the measure space evenly.

    Runs in any number of portions; a search that was interrupted and restored by
    `load_state_dict` or `load` continues as if nothing had happened, bit for bit on one kind of
    CPU. With `torch.distributed` initialised, every rank runs the same search and evaluation
    is shared, see `evaluate`.

    Where guidance has a memory, it gets to remember one image of each evaluated batch (the
    calibration sample, and what emitters ask for with and without gradients), drawn at random
    among those it finds good enough. The memory belongs to the search: guidance holds it only
    while `run` does, and is left with an empty one, so that others may share it.

    Args:
        generator: Whose latents to search. `run` prepares it.
        guidance: What judges the images. `run` prepares it.
        config: How to search.

    Raises:
        SearchError: The grid has another number of measures than the guidance.

    Example:
        >>> search = QDSearch(generator, guidance, SearchConfig(grid=(50, 50)))
        >>> search.run(20_000)
        >>> search.archive.save("archive.safetensors")
    """

    def __init__(self, generator: Generator, guidance: Guidance, config: SearchConfig) -> None:
        if len(config.grid) != len(guidance.measure_names):
            raise SearchError(
                f"search.grid is {config.grid}, for {len(config.grid)} measures, but the guidance "
                f"measures {len(guidance.measure_names)} ({', '.join(guidance.measure_names)}); "
                "give one number of cells per measure."
            )
        self.config = config
        self._generator = generator
        self._guidance = guidance
        self._evaluations = 0
        self._calibration: Calibration | None = None
        self._scheduler: Scheduler | None = None
        self._origin: dict[str, Any] | None = None
        self._memory: dict[str, Tensor]
        self._forget()

    @property
    def evaluations(self) -> int:
        """How many latents have been evaluated so far, the calibration sample included."""
        return self._evaluations

    @property
    def minimum(self) -> int:
        """The fewest evaluations that `run` can spend next: a calibration or an iteration."""
        return self.config.iteration_size if self._scheduler else self.config.calibration

    def run(
        self, evaluations: int, *, on_iteration: Callable[["QDSearch"], None] | None = None
    ) -> int:
        """Continue the search, by as many whole iterations as fit in a budget.

        Args:
            evaluations: How many more latents may be evaluated. The first run spends some on the
                calibration sample.
            on_iteration: Called after the calibration and after every iteration, when the search
                may be saved.

        Returns:
            How many latents were evaluated.

        Raises:
            SearchError: The budget is negative or too small for anything, or the generator or the
                guidance is not the one that the search was begun with.
            EvaluationError: The generator or the guidance returned something unusable.
        """
        if evaluations < 0 or 0 < evaluations < self.minimum:
            raise SearchError(
                f"A budget of {evaluations} evaluations was given, and the next step of this "
                f"search takes {self.minimum} (search.calibration at first, then search.emitters "
                "x search.batch_size); give at least as many."
            )
        self._origin = check_origin(self._generator, self._guidance, begun_with=self._origin)
        before = self._evaluations
        self._guidance.load_memory_state(self._memory)
        try:
            while self._evaluations + self.minimum <= before + evaluations:
                if self._scheduler is None:
                    self._start()
                else:
                    self._iterate(self._scheduler)
                if on_iteration is not None:
                    on_iteration(self)
        finally:
            self._guidance.load_memory_state({})
        return self._evaluations - before

    @property
    def stats(self) -> ArchiveStats:
        """Coverage, QD-score and the like of the elites."""
        return ArchiveStats.of(torch.from_numpy(self._rows("objective")), grid=self.config.grid)

    @property
    def archive(self) -> Archive:
        """The elites so far; further search leaves them as they are.

        Raises:
            SearchError: The search has not begun.
        """
        archive = self._elites()
        copies = {
            name: getattr(archive, name).clone()
            for name in ("latents", "objective", "measures", "cell")
        }
        return Archive(**copies, metadata=archive.metadata)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue: occupied rows, emitters, random generators.

        Returns:
            Nested dicts and lists of CPU tensors and JSON types, which share no memory with the
            search.
        """
        state: dict[str, Any] = copied(self._state())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            SearchError: The state comes from a search with other settings, or of another generator
                or guidance.
        """
        config = as_json(asdict(self.config))
        # How many rows go through at once decides no more than the last bits.
        del config["evaluation_batch_size"]
        for name, value in config.items():
            if (stored := state["config"].get(name)) != value:
                raise SearchError(
                    f"The search to be continued was begun with search.{name}={stored}, not "
                    f"{value}; set it back, or begin a new search elsewhere."
                )
        # First, since what the emitters hold fits their own generator alone.
        origin = check_origin(self._generator, self._guidance, begun_with=state["origin"])
        self._evaluations, self._origin = state["evaluations"], origin
        self._forget()
        self._memory = copied(state["memory"]["guidance"])
        restore(self._random, state["memory"]["random"])
        self._calibration = self._scheduler = None
        if state["calibration"] is not None:
            stored, threshold_min, *later = state["calibration"]
            ranges = tuple((low, high) for low, high in stored)
            known = later and later[0] is not None  # by this version, not by earlier ones
            span = tuple((low, high) for low, high in later[0]) if known else None
            self._calibration = Calibration(ranges, threshold_min, span)
            anywhere = Start.anywhere(self.config, self._generator.latent_size)
            self._scheduler = make_scheduler(
                self.config, self._calibration, self._generator, anywhere
            )
            restore_scheduler(self._scheduler, state["scheduler"])

    def save(self, path: str | Path, *, until: int | None = None) -> None:
        """Write elites and state to one archive file, whole or not at all.

        Args:
            path: The file; `Archive.load` reads its elites, `load` continues the search.
            until: To how many evaluations the search is to go on before its archive is used, see
                `evaluations_to_reach`; None where it may be used as it is.

        Raises:
            ArchiveError: The file cannot be written.
            SearchError: The search has not begun.
        """
        tree = self._elites().to_tree() | {"search": self._state()}
        write_tree(Path(path), tree if until is None else tree | {UNTIL: until})

    def load(self, path: str | Path) -> None:
        """Continue from what `save` wrote.

        Args:
            path: The file.

        Raises:
            ArchiveError: There is no such file, or it is truncated or of another kind, or holds
                elites only, or was written by a version of this package or pyribs whose searches
                have another state.
            SearchError: It comes from another generator, guidance or configuration.
        """
        tree = read_tree(Path(path), "search", "metadata")
        if "search" not in tree:
            raise ArchiveError(
                f"{path} holds elites alone and no search to go on with; bring a file that "
                "`qdgs search` or QDSearch.save wrote."
            )
        try:
            self.load_state_dict(tree["search"])
        except (KeyError, TypeError) as error:
            versions = tree.get("metadata", {}).get("versions", "unknown versions")
            raise ArchiveError(
                f"The search in {path} has another state than those of this version ({error}); go "
                f"on with the versions that wrote it ({versions}), or begin a new one elsewhere."
            ) from error
        except SearchError as error:
            raise SearchError(f"{str(error).rstrip('.')} (archive file {path}).") from error

    def _start(self) -> None:
        """Evaluate a prior sample, set grid and emitters up by it, and archive it."""
        config, generator = self.config, self._generator
        # An earlier start that failed may have left something.
        self._forget()
        self._guidance.load_memory_state(self._memory)
        rng = torch.Generator().manual_seed(as_int(Seeds.of(config).calibration))
        latents = generator.sample_latents(config.calibration, rng)
        sample = self._evaluate(latents)
        names = self._guidance.measure_names
        calibration = calibrate(config, sample, names=names)
        flat = latents.flatten(1).numpy()
        start = Start.of(flat, sample.objective.numpy(), config)
        scheduler = make_scheduler(config, calibration, generator, start)
        for archive in archives_of(scheduler):
            archive.add(flat, sample.objective.numpy(), sample.measures.numpy())
        if scheduler.result_archive.empty:
            raise SearchError(
                f"None of {config.calibration} prior samples has an objective above "
                f"search.objective_min ({config.objective_min}; their best is "
                f"{float(sample.objective.max()):.4g}); lower it."
            )
        self._calibration, self._scheduler = calibration, scheduler

    def _iterate(self, scheduler: Scheduler) -> None:
        """Let all emitters ask once and tell them the outcome."""
        if self.config.algorithm in GRADIENT_ALGORITHMS:
            evaluated = self._evaluate(self._shaped(scheduler.ask_dqd()), jacobian=True)
            assert evaluated.jacobian is not None
            # pyribs normalises the array that it is given in place; nobody else holds this one.
            scheduler.tell_dqd(
                evaluated.objective.numpy(),
                evaluated.measures.numpy(),
                evaluated.jacobian.numpy(),
            )
        evaluated = self._evaluate(self._shaped(scheduler.ask()))
        try:
            scheduler.tell(evaluated.objective.numpy(), evaluated.measures.numpy())
        except IndexError as error:  # an emitter restarts from an elite, and there is none
            raise SearchError(
                "No latent has reached search.threshold_min "
                f"({self.config.threshold_min}) yet; lower it, or leave it to calibration."
            ) from error

    def _evaluate(self, latents: Tensor, *, jacobian: bool = False) -> Evaluated:
        """Evaluate latents and count them; guidance may remember one."""
        self._evaluations += len(latents)
        evaluated = evaluate(
            self._generator,
            self._guidance,
            latents,
            jacobian=jacobian,
            batch_size=self.config.evaluation_batch_size,
        )
        if self._guidance.remembers:
            self._remember(latents, evaluated.objective)
        return evaluated

    def _forget(self) -> None:
        """Begin with an empty memory and the source of what will be remembered."""
        self._memory = {}
        self._random = np.random.default_rng(Seeds.of(self.config).memory)

    def _remember(self, latents: Tensor, objective: Tensor) -> None:
        """Draw one of the good images of a batch, and let guidance remember it."""
        good = np.flatnonzero(objective.numpy() > self._guidance.remember_above)
        if not len(good):
            return
        row = int(self._random.choice(good))
        # Every rank makes the image by itself, alone in its batch: all memories are alike, however
        # the evaluation was cut into chunks.
        device = device_of(self._generator, self._guidance)
        with torch.no_grad():
            image = self._generator(latents[row : row + 1].to(device, torch.float32))
        self._guidance.remember(image)
        self._memory = self._guidance.memory_state()

    def _shaped(self, solutions: NDArray[np.float32]) -> Tensor:
        """Turn pyribs' rows into latents."""
        return torch.from_numpy(solutions).reshape(-1, *self._generator.latent_shape)

    def _rows(self, field: str) -> NDArray[Any]:
        """Return one field of all elites, without a copy."""
        if self._scheduler is None:
            raise SearchError("This search holds nothing yet; call run first.")
        archive = self._scheduler.result_archive
        assert isinstance(archive, PackedGridArchive)
        return archive.rows(field)

    def _elites(self) -> Archive:
        """Return the elites in tensors that share memory with the search."""
        rows = {
            name: torch.from_numpy(self._rows(field))
            for name, field in (
                ("latents", "solution"),
                ("objective", "objective"),
                ("measures", "measures"),
                ("cell", "index"),
            )
        }
        rows["latents"] = rows["latents"].reshape(-1, *self._generator.latent_shape)
        assert self._origin is not None
        assert self._calibration is not None
        metadata = ArchiveMetadata(
            guidance=self._origin["guidance"],
            measure_names=self._guidance.measure_names,
            measure_ends=self._guidance.measure_ends(),
            generator=self._origin["generator"],
            latent_shape=tuple(self._generator.latent_shape),
            grid=self.config.grid,
            ranges=self._calibration.ranges,
            algorithm=self.config.algorithm,
            seed=self.config.seed,
            evaluations=self._evaluations,
            versions={name: version(name) for name in _PACKAGES},
            prior_span=self._calibration.prior_span,
        )
        return Archive(**rows, metadata=metadata)

    def _state(self) -> dict[str, Any]:
        """Return what `state_dict` does, in tensors that share memory with the search."""
        return {
            "config": as_json(asdict(self.config)),
            "origin": self._origin,
            "evaluations": self._evaluations,
            "calibration": as_json(self._calibration),
            "scheduler": capture_scheduler(self._scheduler) if self._scheduler else None,
            "memory": {"guidance": self._memory, "random": capture(self._random)},
        }
