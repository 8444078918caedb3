"""What would have been done: by a policy that only observes, and to past deliveries by another policy.

Belongs here: pure rules, made of those that decide. Not: who keeps what was looked at (``delivery.evidence``).
"""
