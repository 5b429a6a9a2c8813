"""Figures and tables, drawn from saved data."""
