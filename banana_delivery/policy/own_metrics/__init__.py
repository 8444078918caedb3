"""What a team measures itself and a release must keep: what it is, what its figures say, and what follows for a step.

Belongs here: pure rules. Not: who asks for the figures (``evaluation.own_metrics``), nor when (``delivery.evidence``).
"""
