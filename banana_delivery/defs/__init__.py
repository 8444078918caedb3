"""All that Dagster loads: resources, assets, checks, jobs, sensors, and how records become asset values.

Belongs here: declarations, and the talking around a decision. Not: decisions (``policy``), the steps of a delivery that
need no Dagster (``delivery``), calls to a cluster or a registry.
"""
