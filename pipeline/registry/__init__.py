"""Releases: the files in models/, and the same models registered in MLflow."""

from pipeline.registry.lookup import open_classifier

__all__ = ["open_classifier"]
