"""What Dagster's daemon and the code server cost, measured on the real processes of the embedded stack.

What belongs here: starting them, what they load, and what is measured. What does not: deliveries in one process.
"""
