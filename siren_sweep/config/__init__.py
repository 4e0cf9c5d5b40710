"""What a run may be told: the schema with its bounds, composing with Hydra, and a person's existing YAML as base."""
