"""The database port in memory: the same transactions and errors as the SQL one, for tests.

The tables are plain dictionaries of the domain's rows. A write works on a copy of them, which
takes the place of the original at its end; a read keeps the dictionaries that it began with.
"""
