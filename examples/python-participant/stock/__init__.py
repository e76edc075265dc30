"""A stock of goods, kept in SQLite, that takes part in Handfast transactions.

- `session`: the session with a coordinator. Knows frames and nothing of goods.
- `store`: the promises and the goods. Knows SQLite and nothing of the wire.
- `__main__`: the command line.
"""
