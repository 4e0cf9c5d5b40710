"""Trains one config: the SIREN, its steps, exact metrics, pictures of the fit. It needs no Hydra, Optuna or MLflow."""
