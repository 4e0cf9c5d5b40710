"""Trials as jobs of a cluster: checks of the settings, the jobs, and the trainer that submits them."""
