"""The scientific record of a sweep: hypotheses, verdicts and evidence, as Markdown.

It is made from the studies alone, and is the same byte for byte when it is made again.
"""
