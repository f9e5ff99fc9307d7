"""How the server bears load: throughput and latency beside the engine called directly, and a long soak."""
