"""Whether the pipeline keeps its promises, from the audit trail: estimates with their intervals, and what they are of.

What does not belong here: reading the trail, and showing the result.
"""
