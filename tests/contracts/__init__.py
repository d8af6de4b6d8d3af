"""Tests of what we say: messages, documents, keys, settings and their exported schemas."""
