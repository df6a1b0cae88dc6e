"""Helpers that several subjects of the package share."""
