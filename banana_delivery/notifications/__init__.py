"""How people are told: the messages, the channels, and an outbox for what did not arrive.

Belongs here: texts and their delivery. Not: when to tell (``delivery``), nor how loudly (``policy.outcomes``).
"""
