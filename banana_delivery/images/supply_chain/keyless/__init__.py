"""Signing by an identity instead of a key: a certificate of some minutes from Fulcio, and a timestamp that lasts.

Belongs here: asking both authorities, and whose certificates and timestamps are believed. Not: how signatures lie
beside an image (``supply_chain.signatures``), nor when one is asked for (``delivery.signing``).
"""
