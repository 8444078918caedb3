"""Takes a YOLO detector from MLflow "Staging" to all of production's traffic, or safely back.

Belongs here: the packages of ``docs/architecture.md``, and single pages that any of them may read (``settings``,
``names``, ``errors``, ``files``, ``waiting``). Not: what runs inside a release image (``serving``).
"""
