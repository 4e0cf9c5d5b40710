"""The settings of a run: their schema and bounds, their composition with Hydra, an existing YAML file as the base."""
