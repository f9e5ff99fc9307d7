"""Labelled images: folders, annotation files and files of embeddings, read and never written."""
