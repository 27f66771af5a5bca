"""Measures of what an encoder's frames tell apart."""
