"""What the counters tell beside the limits: who gives a sign of life, and whether users arrive as they were given away.

Belongs here: facts about the traffic that keep a step from ending well. Not: what is held against a candidate
(``analysis``).
"""
