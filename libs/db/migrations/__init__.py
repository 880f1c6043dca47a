"""Alembic migrations; run by ``libs.db.migrate``."""
