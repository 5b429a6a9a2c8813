"""The commands of `hybrid`: a function each, whose signature and docstring are its options and its help.

They import what they need when they run, so that the help appears at once.
"""
