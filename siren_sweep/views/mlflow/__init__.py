"""Copies the studies to MLflow, and registers the best models there."""
