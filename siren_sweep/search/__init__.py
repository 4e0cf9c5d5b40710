"""What to try next, and what to stop.

`strategy` lays out a batch, and asks a `proposer` for the rest of it: Optuna's samplers, `grid`, or `sampler`, which
looks at the `history` of the trials, foresees where they end (`model`), ranks them (`tree`), and chooses among their
`mutations`. What may vary is a `space`, or what a person's `limits` leave of it; `encoding` has its coordinates,
`knowledge` what is known of its parameters. A `proposal` is one config of a batch. `pruner` stops trials.
"""
