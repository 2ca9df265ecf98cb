"""What the registry does besides answering: threads that work until they are stopped.

May import bootstrap and everything below it, but no adapter; the CLI starts it.
"""
