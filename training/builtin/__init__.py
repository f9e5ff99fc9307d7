"""How the model inside the package is made: one command for each of five stages, numbered in their docstrings."""
