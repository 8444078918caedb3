"""Releases on Kubernetes: Deployments, Services, and the weights of a Gateway or of endpoints.

Belongs here: every call to a cluster's API; nothing else imports ``kubernetes``. Not: the manifests and kustomize
(``k8s/``), the demonstration.
"""
