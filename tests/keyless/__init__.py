"""Signing by an identity with the real Fulcio, the real timestamp authority and the real cosign.

What belongs here: what needs those servers, which ``hack/keyless/build`` builds from Debian's sources (``make
test-keyless``). Not: what their published forms are enough for (``tests/integration/images``), which CI runs.
"""
