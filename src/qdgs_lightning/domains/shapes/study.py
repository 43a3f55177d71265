"""``qdgs shapes-table``: biases x samplers x seeds, resumable, one process per core."""

import json
import os
from pathlib import Path

from rich.console import Console

from qdgs_lightning.domains.shapes.dataset import BIASES
from qdgs_lightning.domains.shapes.published_results import write_summary
from qdgs_lightning.domains.shapes.study_report import markdown, terminal_table
from qdgs_lightning.domains.shapes.study_stages import (
    ARMS,
    ArchiveOf,
    Arm,
    Experiment,
    Job,
    PhaseOne,
    Run,
)
from qdgs_lightning.parsing.shipped_configs import CONFIG_FOLDER
from qdgs_lightning.studies.aggregate import read_results
from qdgs_lightning.studies.config import Config, keep_settings
from qdgs_lightning.studies.runner import TableError, distinct, work_off
from qdgs_lightning.utils.atomic_files import write_measured


def shapes_table(
    *,
    biases: float | tuple[float, ...] = BIASES,
    arms: Arm | tuple[Arm, ...] = ARMS,
    seeds: int = 10,
    configs: Path | None = None,
    overlay: Path | None = None,
    annotator: str | None = "shapes_annotator",
    output: Path = Path("runs/shapes_table"),
    page: Path | None = None,
    summary: Path | None = None,
    jobs: int | None = None,
) -> None:
    """Compare what classifiers learn from samplers, for every colour bias of the training set.

    The first phase is trained once per bias and seed, as shapes_none.yaml says, and shared by all
    arms; an archive is searched once per seed and shared by all biases. Every finished run is a
    JSON file: stopped and started again, the command goes on where it was.

    Args:
        biases: Colour biases of the real training images, one or a list such as [0.98,0.9].
        arms: What classifiers learn from after the first phase, one or a list.
        seeds: How many seeds, counted from 0.
        configs: Folder with the configuration of each arm, shapes_<arm>.yaml; the shipped ones
            where not given.
        overlay: A YAML file laid over the configuration of every arm, or the name of a shipped one.
        annotator: Weights of the annotator that judges the pools, or null for no judgement.
        output: Folder of results, checkpoints, archives and logs.
        page: Markdown page whose measured part is renewed; page.md in the output if not given.
        summary: JSON file that gets means and intervals too, as `qdgs shapes-demo` shows them.
        jobs: How many processes work at once; as many as there are cores by default.

    Raises:
        TableError: The arms differ in what they must share, the folder holds another experiment,
            or a run failed.
        WeightsError: There is no such annotator.
    """
    experiment = Experiment(
        configs=configs or CONFIG_FOLDER, output=output, overlay=overlay, annotator=annotator
    )
    biases = distinct(biases, option="biases")
    arms = distinct(arms, option="arms")
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise TableError("--seeds and --jobs are numbers of at least 1.")
    _check_settings(experiment, arms)
    # Seeds vary fastest: neighbours in time then seldom want the same candidates.
    runs = [
        Run(arm=arm, bias=bias, seed=seed)
        for bias in biases
        for arm in arms
        for seed in range(seeds)
    ]
    work_off(_missing(runs, experiment), experiment, jobs or os.cpu_count() or 1)
    results = read_results(run.file(experiment) for run in runs)
    console = Console()
    console.print(terminal_table(results))
    page = page or output / "page.md"
    write_measured(page, markdown(results), title="Shapes")
    console.print(f"Page: {page}", highlight=False)
    if summary is not None:
        write_summary(summary, results)
    console.print(
        f"Run folders with their figures: {output / 'logs'}; pools: {output / 'pools'}; "
        f"results: {output / 'results'}",
        highlight=False,
        soft_wrap=True,
    )


def _missing(runs: list[Run], experiment: Experiment) -> list[Job]:
    """List the jobs that are left, those that others wait for first."""
    left: list[Job] = [run for run in runs if not run.file(experiment).is_file()]
    needed = {path for run in left for path in run.needs(experiment)}
    before: dict[Path, Job] = {}
    for run in runs:
        for job in (ArchiveOf(seed=run.seed), PhaseOne(bias=run.bias, seed=run.seed)):
            path = job.file(experiment)
            if path in needed and not path.is_file():
                before.setdefault(path, job)
    # An archive takes longest: were it begun last, one core would wait for it.
    first = sorted(before.values(), key=lambda job: not isinstance(job, ArchiveOf))
    return [*first, *left]


def _check_settings(experiment: Experiment, arms: tuple[Arm, ...]) -> None:
    """Make sure that arms share the first phase, and that earlier results are of these settings."""
    configs: dict[str, Config] = {arm: experiment.config(arm) for arm in sorted({"none", *arms})}
    shared = {
        json.dumps(
            [
                config["model"],
                config["trainer"]["max_epochs"],
                *(
                    config["data"]["init_args"].get(name)
                    for name in ("real_epochs", "samples_per_epoch", "batch_size")
                ),
            ]
        )
        for config in configs.values()
    }
    if len(shared) > 1:
        raise TableError(
            "The arms' configurations differ in model, epochs, samples per epoch or batch size, "
            "so that they cannot share a first phase: make these equal."
        )
    keep_settings(experiment.output, configs, weights={"annotator": experiment.annotator})
