"""``qdgs avatars-table``: arms of the avatars experiment x seeds, resumable."""

import os
from pathlib import Path

from rich.console import Console

from qdgs_lightning.domains.avatars.study_report import markdown, terminal_tables
from qdgs_lightning.domains.avatars.study_stages import NONE, Data, Experiment, Run
from qdgs_lightning.parsing.shipped_configs import CONFIG_FOLDER
from qdgs_lightning.studies.aggregate import read_results
from qdgs_lightning.studies.config import keep_settings
from qdgs_lightning.studies.runner import Job, TableError, distinct, work_off
from qdgs_lightning.utils.atomic_files import write_measured


def avatars_table(
    *,
    arms: str | tuple[str, ...] = (NONE, "rand", "qd"),
    seeds: int = 5,
    configs: Path | None = None,
    overlay: Path | None = None,
    reader: str = "avatars_reader",
    output: Path = Path("runs/avatars_table"),
    page: Path | None = None,
    title: str = "Avatars",
    jobs: int | None = None,
) -> None:
    """Compare recognisers that learn first from nothing, from plain and from even synthetic faces.

    For every seed a biased training set is drawn. An arm is trained on its synthetic identities
    first, as avatars_<arm> of `qdgs configs` says, then on that set, as avatars_none says,
    and tested on benchmarks of groups; the arm none is trained on the set alone. An independent
    reader says what the synthetic images show. Every finished run is a JSON file: stopped and
    started again, the command goes on where it was.

    Args:
        arms: Names of configurations, one or a list such as [none,qd,qd+wplus]; the last one is
            avatars_qd.yaml with avatars_qd_wplus.yaml laid over it.
        seeds: How many seeds, counted from 0.
        configs: Folder with the configuration of each arm; the shipped ones where not given.
        overlay: A YAML file laid over the configuration of every arm, or the name of a shipped one.
        reader: Weights of the reader.
        output: Folder of data, results, checkpoints and logs.
        page: Markdown page whose measured part is renewed; page.md in the output if not given.
        title: Heading of a page that is not there yet.
        jobs: How many processes work at once; as many as there are cores by default.

    Raises:
        TableError: The folder holds another experiment, or a run failed.
        WeightsError: There is no such reader.
    """
    experiment = Experiment(
        configs=configs or CONFIG_FOLDER, output=output, overlay=overlay, reader=reader
    )
    arms = distinct(arms, option="arms")
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise TableError("--seeds and --jobs are numbers of at least 1.")
    configs_of = {arm: experiment.config(arm) for arm in sorted({NONE, *arms})}
    keep_settings(output, configs_of, weights={"reader": reader})
    runs = [Run(arm=arm, seed=seed) for seed in range(seeds) for arm in arms]
    work_off(_missing(runs, experiment), experiment, jobs or os.cpu_count() or 1)
    results = read_results(run.file(experiment) for run in runs)
    console = Console()
    for table in terminal_tables(results):
        console.print(table)
    page = page or output / "page.md"
    write_measured(page, markdown(results), title=title)
    console.print(f"Page: {page}", highlight=False)
    console.print(
        f"Results: {output / 'results'}; runs with their metrics: {output / 'logs'}",
        highlight=False,
        soft_wrap=True,
    )


def _missing(runs: list[Run], experiment: Experiment) -> list[Job[Experiment]]:
    """List the jobs that are left, seed by seed, those that others wait for first."""
    left: dict[Path, Job[Experiment]] = {}
    for seed in dict.fromkeys(run.seed for run in runs):
        of_seed = [r for r in runs if r.seed == seed and not r.file(experiment).is_file()]
        first = [run.first for run in of_seed if run.first is not None]
        # A search takes longest: were it begun last, one core would wait for it.
        first.sort(key=lambda job: job.arm.startswith("rand"))
        before: list[Job[Experiment]] = [*first, *([Data(seed=seed)] if of_seed else [])]
        for job in before:
            if not job.file(experiment).is_file():
                left[job.file(experiment)] = job
        left |= {run.file(experiment): run for run in of_seed}
    return list(left.values())
