"""Removing images from a registry that others use at the same time, and clearing up after removals that broke off.

Belongs here: dooms, objections, deletions. Not: which images are old (``images.retention``), nor giving them out.
"""
