"""What the registry does besides answering: by threads that work until they are stopped.

What computes, these threads have done by other processes.

May import bootstrap and everything below it, but no adapter; the CLI starts it.
"""
