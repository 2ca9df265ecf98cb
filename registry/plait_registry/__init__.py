"""plait_registry: the server that stores, verifies and serves versions of adapters.

It may import `plait` (its model, algebra and errors); `plait` imports nothing of it.
"""
