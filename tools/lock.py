"""Print constraints.txt for the environment that runs this script.

Every installed distribution is pinned to its exact version, so that one file fixes the direct and
the transitive dependencies. What it leaves out, and why:

- plait itself and pip, which are not dependencies;
- the local part of a version (`+cpu`): the same release is built for several accelerators, and a
  machine installs the build it has;
- hashes and addresses, for the same reason (docs/decisions/0003).
"""

from importlib.metadata import distributions

from packaging.utils import canonicalize_name
from packaging.version import Version

HEADER = """\
# The exact versions that plait is developed and tested with. Written by `make lock` from a fresh
# environment on the oldest supported Python; do not edit by hand. Entries that a platform or a
# Python version does not need are never installed: a constraint asks for nothing by itself.
"""

NOT_DEPENDENCIES = frozenset({"pip", "plait"})

# A pin that its own metadata forbids on some interpreter would make the install fail there.
MARKERS = {
    # networkx 3.6 refuses this one Python release, whose dataclasses break it.
    "networkx": "python_full_version != '3.14.1'",
}


def pins() -> list[str]:
    """Return one `name==version` line for each installed distribution, sorted by name."""
    versions = {
        canonicalize_name(found.metadata["Name"]): Version(found.version).public
        for found in distributions()
    }
    return [
        f"{name}=={version}" + (f"; {MARKERS[name]}" if name in MARKERS else "")
        for name, version in sorted(versions.items())
        if name not in NOT_DEPENDENCIES
    ]


if __name__ == "__main__":
    print(HEADER + "\n".join(pins()))
