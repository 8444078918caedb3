"""Pure decisions, and the values they are made of: facts come in, a decision with its reason goes out.

Belongs here: every rule about a delivery, and the records that rules read. Not: a clock, a disk, a network or a
framework; a test looks for them.
"""
