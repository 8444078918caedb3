"""Where releases run: the interface, its claims, the one reader of counters, and one package a kind of target.

Belongs here: replicas, weights, records of environments, figures about both. Not: images (``images``), nor the
processes of MLflow or Dagster (``embedded``).
"""
