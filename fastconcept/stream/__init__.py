"""Video: frames in, explanations out, as fast as they come; what has not changed is not computed again."""
