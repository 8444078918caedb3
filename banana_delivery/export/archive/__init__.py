"""What a checkpoint may be made of: one strict form of archive, one strict form of pickle, and a list of names.

Belongs here: judging bytes without loading them. Not: loading (``detector``), nor the process around it (``jail``).
"""
