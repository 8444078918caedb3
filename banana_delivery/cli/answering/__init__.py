"""What a command says, to people or to programs: one mechanism for all of them.

Belongs here: ``--json``, errors as JSON, examples in the help. Not: what any one command says.
"""
