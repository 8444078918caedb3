"""What image files hold around their pixels, read as OpenCV reads it.

Here: which picture of a file, which way up, and which bits of a stored colour. Not here: unpacking pixels (`decode`).
"""
