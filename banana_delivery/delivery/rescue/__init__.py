"""Rescue: taking a bad release out, finding that production is not as recorded, and noticing that nobody looks.

Belongs here: what helps production in an emergency or at rest. Not: the undoing of a release under way, which is
``delivery.rollback``.
"""
