"""plait_registry: the server that stores, verifies and serves versions of adapters.

    domain/      PURE: rules, rows, and the ports to the world
    services/    one use case a class, over ports
    adapters/    the ports' implementations: SQL, memory, folders, the clock
    api/         the HTTP API

It may import `plait` (its model, algebra and errors); `plait` imports nothing of it.
"""
