"""``python -m qdgs_lightning`` is ``qdgs``."""

from qdgs_lightning.cli.main import main

main()
