"""Training one config: the SIREN, its steps, exact metrics, pictures of the fit. No Hydra, Optuna or MLflow."""
