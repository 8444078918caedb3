"""What a release image is: its key, its layers, its scan and self-test, how long it is kept; and where.

Belongs here: the interface of an image store and one package a kind of it. Not: who runs an image (``targets``), nor
what is inside it (``serving``).
"""
