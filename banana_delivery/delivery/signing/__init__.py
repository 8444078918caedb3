"""When images are signed, what is said of them under the same key, and what is not deployed without it.

Belongs here: whose image may be signed, and the statements about a build and a verdict. Not: how signatures look
(``images.supply_chain``).
"""
