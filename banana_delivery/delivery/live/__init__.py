"""What is seen of deliveries while they are under way: looked up for the terminal and for the page.

What belongs here reads records, the router and the audit trail, and changes nothing. Not: how it looks (``reports``).
"""
