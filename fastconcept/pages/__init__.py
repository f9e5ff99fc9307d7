"""Pages that fetch nothing: shell, style, tables and plots."""
