"""From bytes to boxes: decode, preprocess, the engine and its pool, postprocess.

Belongs here: what happens between a picture and its detections. Not: HTTP, and nothing that loads a checkpoint.
"""
