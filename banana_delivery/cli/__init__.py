"""The command line: ``banana-delivery``. Each command talks; the work is done elsewhere.

Belongs here: arguments, questions and what is printed, with one file for each kind of command. Not: what a command does
(``delivery`` and below), or how its tables look (``reports.terminal``).
"""

from banana_delivery.cli.entry import app, main

__all__ = ["app", "main"]
