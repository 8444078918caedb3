"""Asking running releases over HTTP: labelled images for their quality, checks of the contract, steady probes."""
