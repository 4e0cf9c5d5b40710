"""A sweep as it runs: blocks, batches, workers in slots, and what a person asks of it meanwhile."""
