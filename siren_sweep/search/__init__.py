"""What to try next, and what to stop: the space, the tree, the sampler, the pruner, the layout of a batch."""
