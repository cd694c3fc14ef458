"""Figures: one module a figure, drawn from the studies' tables (`python -m figures.report`)."""
