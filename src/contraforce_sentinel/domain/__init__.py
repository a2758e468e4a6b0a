"""Values and rules: no clock, no I/O, no other room of this package."""
