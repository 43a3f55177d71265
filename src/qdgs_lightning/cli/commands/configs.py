"""``qdgs configs``: list the configurations that the package ships."""

from qdgs_lightning.parsing.shipped_configs import Kind, ShippedConfig, shipped_configs

_TITLES: dict[Kind, str] = {
    "experiment": "Experiments: qdgs fit --config NAME",
    "search": "Searches: qdgs search --config NAME",
    "overlay": "Overlays: qdgs fit --config BASE --config NAME",
    "weights": "Weights: qdgs fit --config NAME makes again what the package ships",
}


def configs() -> None:
    """List the configurations that the package ships, a line for each.

    ``--config`` finds each of them by its name, in any folder; ``qdgs configs copy NAME`` makes a
    copy that can be edited.
    """
    listed = shipped_configs()
    width = max(len(config.name) for config in listed)
    for kind, title in _TITLES.items():
        print(title)
        for config in listed:
            if config.kind == kind:
                print(f"  {config.name:<{width}}  {_told(config)}")
        print()
    print("A copy to edit: qdgs configs copy NAME")


def _told(config: ShippedConfig) -> str:
    """Say what a configuration is for, and of an overlay what it lies over."""
    return config.about if config.base is None else f"{config.base}: {config.about}"
