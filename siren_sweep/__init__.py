"""Find the SIREN hyperparameters that fit a stimulus field, with evidence for each choice."""

__version__ = "0.1.0"
