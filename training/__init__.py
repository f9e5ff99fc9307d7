"""How the models of this project are trained: in the repository, not in the wheel."""
