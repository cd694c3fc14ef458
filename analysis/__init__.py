"""Studies: one module a question, each a table with its manifest (`python -m analysis`)."""
