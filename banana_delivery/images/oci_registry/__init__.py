"""A container registry over its HTTP API: references, sign-in, manifests, tags and pins.

Belongs here: what an engine cannot ask a registry. Not: MLflow's registry of models (``model_registry``), nor building
(``images.docker``).
"""
