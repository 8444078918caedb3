"""What runs print, kept where the pages find it after a run's machine is gone.

Belongs here: where Dagster's compute logs lie. Not: what is logged, nor how long it stays (`delivery/upkeep`).
"""
