"""Measurements of gaussflow against a plain version of its source.

Not installed with the package.
"""
