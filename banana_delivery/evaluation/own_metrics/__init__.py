"""Asking for a team's own metrics: a Prometheus, or a page of JSON.

What belongs here asks the address that a policy names, and no other, within bounds. Not: what a figure means.
"""
