"""Four notes for readers with a notebook, executed, their outputs stored."""
