"""Bulk jobs: a method of the engine over any number of images, into parquet shards; see docs/batch.md."""
