"""The fault simulator: whole deliveries, rollbacks and persons on a machine whose every call may go wrong.

Belongs here: the simulated machine, what may go wrong on it, who works on it, and what must hold in the end. Not: tests
of single cases, each of which has its place beside what it tests.
"""
