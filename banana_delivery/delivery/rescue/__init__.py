"""What the way back needs: which release it leads to, and that something answers there.

Belongs here: parts of a rollback that decide or wait. Not: the rollback itself, nor what follows once users are back.
"""
