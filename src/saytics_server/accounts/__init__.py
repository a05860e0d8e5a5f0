"""Who may do what: workspaces, their keys, and the people who log in.

`Accounts` is the whole face. It is open on one data directory (or a database URL), answers from
any thread, and keeps keys and workspaces in memory, so that the ingest path asks no database.
What a method has returned is committed with `synchronous=FULL`; only the times of last use lag,
by up to a minute.
"""

from saytics_server.accounts.accounts import Accounts, WorkspaceChanges
from saytics_server.accounts.bootstrap import Bootstrap, bootstrap
from saytics_server.accounts.model import (
    PLANS,
    ROLES,
    Account,
    Actor,
    Key,
    Limits,
    Session,
    Workspace,
)

__all__ = [
    "PLANS",
    "ROLES",
    "Account",
    "Accounts",
    "Actor",
    "Bootstrap",
    "Key",
    "Limits",
    "Session",
    "Workspace",
    "WorkspaceChanges",
    "bootstrap",
]
