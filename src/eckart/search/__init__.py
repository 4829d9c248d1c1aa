"""Searches under a tolerance."""
