"""Where calls come in: triggers, handlers, bodies, answers."""
