"""Where model versions come from and where outcomes are marked: the interface, MLflow, and its fake.

Belongs here: versions, stagings, checkpoints and their download; nothing else imports ``mlflow``. Not: container
registries (``images.oci_registry``), nor which staging is new (``policy.staged_versions``).
"""
