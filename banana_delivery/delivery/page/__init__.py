"""The page on which people watch deliveries: what ``status --watch`` shows, and every attempt, at ``/delivery``.

Belongs here: what it shows and how it comes to a browser. Not: who may ask (``runs.pages``), and deciding anything.
"""
