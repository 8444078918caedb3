"""Dagster's pages as we serve them: Dagster's own application behind a guard that lets no stranger change anything.

Belongs here: who may ask the pages for what, and starting them. Not: what Dagster does then, and no pages of our own.
"""
