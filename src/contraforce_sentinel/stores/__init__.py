"""Where links are kept: one protocol, two stores."""
