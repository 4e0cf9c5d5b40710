"""The state of a sweep: Optuna studies in one storage, and what is stored in them."""
