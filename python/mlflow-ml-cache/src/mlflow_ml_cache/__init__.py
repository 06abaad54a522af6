"""Reads models out of a store of ml-cache, every byte verified by the manifest.

Every module but `repository`, which MLflow loads, is independent of MLflow.
"""
