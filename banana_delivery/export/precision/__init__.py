"""A model in 8-bit integers: how it is made, and what says whether it is served.

Belongs here: quantising, and having both forms answer; both in confined processes, since what they read is a stranger's
model. Not: the decision (``policy.quality.precision``), nor which images calibrate (``evaluation.holdout``).
"""
