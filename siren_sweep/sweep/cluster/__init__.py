"""Trials as jobs of a cluster: what is wrong with one, its jobs, and how trials are trained by them."""
