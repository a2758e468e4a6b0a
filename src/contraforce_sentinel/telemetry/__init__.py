"""What is told: events, metrics, spans, and their names."""
