"""Where the network is run: on an NVIDIA GPU that works and answers as the CPU does, else on the CPU.

Belongs here: finding out, saying why, and what happens when a GPU is lost. Not: what the answers mean.
"""
