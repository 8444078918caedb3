"""What becomes of a person's approval while its version waits.

Belongs here: what an approval still asks for, and whether anybody wants its version any more. Not: whether it lets a
version in (``gate``), how a delivery is begun (``delivery.deciding``).
"""
