"""The assets, one file each, and ``_run``, which every asset starts with.

Belongs here: what an asset is given, does in order and records. Not: helpers for the outside system that one asset
uses; they live with that system.
"""
