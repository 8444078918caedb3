"""Deliveries that are played through the functions that decide about real ones, under traffic that is made up.

Belongs here: made-up traffic, and the loop of a delivery without its effects. Not: what decides (``policy.rollout``),
nor what is measured with it (``policies.promise``, ``benchmarks``).
"""
