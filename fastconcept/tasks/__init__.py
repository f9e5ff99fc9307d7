"""What the papers do with explanations: localisation, out-of-distribution detection, zero-shot, and the rest."""
