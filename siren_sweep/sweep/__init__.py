"""The running sweep: blocks, batches, workers in slots, and a person's instructions."""
