"""The scientific record of a sweep: hypotheses, verdicts, evidence, and the Markdown that shows them.

All of it is a view: made from the studies alone, and made again byte for byte.
"""
