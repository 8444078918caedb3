"""What was predicted, kept in a database in the background.

Belongs here: the queue and the tables. Not: anything an answer waits for; the log may never slow or fail a request.
"""
