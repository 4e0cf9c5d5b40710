"""The state of a sweep: its Optuna studies in one storage, and the records that are stored in them."""
