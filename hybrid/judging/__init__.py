"""Evaluation of trained models, and the data of the figures."""
