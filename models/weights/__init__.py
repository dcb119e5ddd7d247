"""The embedded weights, as package data."""
