"""The use cases: hold an environment, shift its traffic, roll back, put on record, tell, recover.

Belongs here: what assets, sensors and the command line do alike, step by step. Not: dagster, kubernetes or httpx, nor
the rule that says what comes next (``policy``).
"""
