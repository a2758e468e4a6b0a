"""Measures the app beside its floors: the barest clients that make the same calls. Not deployed."""
