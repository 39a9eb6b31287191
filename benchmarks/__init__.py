"""Measurements of gaussflow against a plain version of its source; not installed with the package."""
