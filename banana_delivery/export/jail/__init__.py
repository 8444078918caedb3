"""The jail of a process that reads a stranger's bytes: what it may use up, see, reach and leave behind.

Belongs here: the kernel's means, each a module, and ``confine``, which uses all that this machine has. Not: which work
is done in it (``sandbox`` and the workers).
"""
