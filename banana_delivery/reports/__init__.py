"""Figures turned into what a person reads: tables, plots, the terminal, one self-contained HTML report.

Belongs here: drawing. Not: reading Dagster; whoever wants a report hands in the records.
"""
