"""How reports look: colours and pictures, the page that they stand on, and figures as people write them.

Belongs here: what all reports share. Not: what any of them says.
"""
