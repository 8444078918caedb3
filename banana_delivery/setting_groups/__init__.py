"""Settings by subject, which ``banana_delivery.settings`` puts together: one class a file.

Belongs here: fields, each with its default and what it is for. Not: reading them (``settings``), nor using them.
"""
