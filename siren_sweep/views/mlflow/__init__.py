"""MLflow as a mirror of the studies, with a registry of the best models."""
