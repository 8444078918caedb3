"""MLflow's webhooks: what makes the staging sensor look at once instead of at its next tick.

Belongs here: the small service that receives them, how the sensor hears of it, registering with MLflow, the shared
secret. Not: what is staged and what follows from it; a webhook is believed in nothing but that somebody should look.
"""
