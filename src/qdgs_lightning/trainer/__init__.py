"""Trainer commands: what `qdgs fit`, `validate`, `test` and `predict` do beyond LightningCLI."""
