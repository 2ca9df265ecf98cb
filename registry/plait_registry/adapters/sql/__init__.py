"""The database over SQLAlchemy Core: one file a table of the port, one file for each concern.

- `tables.py` is the schema; `migrations/` brings a database to it.
- `dialect.py` is the only file that knows which database it is.
- Rows stay in here: what leaves are the values of `plait_registry.domain.records`.
"""
