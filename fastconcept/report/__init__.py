"""One self-contained page about photographs."""
