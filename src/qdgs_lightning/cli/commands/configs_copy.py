"""``qdgs configs copy``: make a copy of a shipped configuration that can be edited."""

import shutil
from pathlib import Path

from qdgs_lightning.errors import ConfigError, did_you_mean
from qdgs_lightning.parsing.shipped_configs import shipped_configs
from qdgs_lightning.utils.atomic_files import replacing


def configs_copy(*, name: str, output: Path | None = None, force: bool = False) -> None:
    """Write a shipped configuration into a file that can be edited.

    Args:
        name: Out of the list of `qdgs configs`.
        output: The file, or the folder to put it in; NAME.yaml in this folder where not given.
        force: Replace the file if it is there already.

    Raises:
        ConfigError: There is no such configuration, or the file is there already.
        OSError: The place cannot be written.
    """
    known = {config.name: config.path for config in shipped_configs()}
    source = known.get(name.removesuffix(".yaml"))
    if source is None:
        raise ConfigError(
            f"There is no configuration '{name}'{did_you_mean(name, known)}: give a name out of "
            "`qdgs configs`."
        )
    target = Path() if output is None else output
    if target.is_dir():
        target /= source.name
    if target.exists() and not force:
        raise ConfigError(
            f"{target} is there already: give another --output, or replace it by --force true."
        )
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished)
    print(f"Written: {target}")
