"""The page on which people watch deliveries: what ``status --watch`` shows, and every attempt, at ``/delivery``.

Belongs here: what it shows, how that comes to a browser, and passing on what people decide there. Not: who asks
(``runs.pages``), and deciding anything (``delivery.deciding``).
"""
