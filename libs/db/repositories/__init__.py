"""Repositories: loading and saving, without deciding anything."""
