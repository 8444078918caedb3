"""Release policies as files: what is in one, how it is read, and the ones that come with the product.

Belongs here: the form of a policy file, its mistakes as sentences, ``standard``, ``seed`` and ``demo``. Not: what the
rules in it mean (``banana_delivery.policy``), nor who obeys them (``banana_delivery.delivery``).
"""
