"""Measurements for the documentation; not part of the installed package."""
