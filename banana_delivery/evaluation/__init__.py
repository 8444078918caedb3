"""Asking a release that runs: acceptance tests, answers to labelled images, load, and the probe.

Belongs here: clients of a release's HTTP interface, and the interface for fakes of them. Not: the router's counters
(``targets.metrics``), nor what the answers are worth (``policy.quality``).
"""
