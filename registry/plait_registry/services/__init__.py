"""What the registry does, one use case a class: each takes ports and values.

May import `plait_registry.domain`, `plait.algebra`, `plait.model` and `plait.wire`; never an
adapter, never the API. `plait_registry.bootstrap` hands the adapters in.
"""
