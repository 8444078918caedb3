"""The demonstration: real models travel to production, embedded or on a cluster, while clients keep asking.

Belongs here: its scenario, the runner, its part of a cluster, the table at the end. Not: anything that a delivery
needs; nothing but the command line imports it.
"""
