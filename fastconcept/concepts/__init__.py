"""Concepts: the WordNet DAG and named banks of embeddings."""
