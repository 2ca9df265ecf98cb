"""The working copy: git's verbs over a folder whose state lies in `.plait/`, offline.

One use case a file. May import everything of the client but the integrations and the command
line. Reads no clock and no environment: who makes a commit, and when, is handed in.

What every verb here keeps to:

- State files are written whole under a temporary name and renamed, so that a kill at any point
  leaves the old state or the new one. What several files must agree on goes through the journal
  of `plait.working_copy.tree`.
- Objects come before the commits that need them, and commits before the refs that name them.
- A file with uncommitted changes is never overwritten or removed unless the caller says so.
"""
