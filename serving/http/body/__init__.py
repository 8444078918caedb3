"""The body of a request: received within limits, and taken apart into images.

Belongs here: the pace and room of uploads, and the forms in which clients send images. Not: what an image is
(``inference``), nor what a request asks for.
"""
