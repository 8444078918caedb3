"""How a rollout is judged: its plan, the counters' increases, the tests on them, what follows, and why.

Belongs here: statistics and the rules of a step. Not: how a weight is set (``targets``), when to ask again
(``delivery.traffic_shift``).
"""
