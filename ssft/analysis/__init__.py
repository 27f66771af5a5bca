"""Measures of the shape of an encoder's representations, without labels."""
