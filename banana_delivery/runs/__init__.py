"""Dagster's instance as a store: the audit trail, the runs and how they ended, partitions, how runs are started.

Belongs here: reading and writing what Dagster keeps. Not: what follows from an outcome (``policy.outcomes``), and no
asset, check or sensor (``defs``).
"""
