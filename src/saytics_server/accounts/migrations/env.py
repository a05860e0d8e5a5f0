"""Runs the migrations on the connection it is given; its owner begins and commits.

To write a new one: change `tables`, then copy the newest script, name it after its revision, and
set `HEAD_REVISION`. The tests compare the outcome with `tables`.
"""

from alembic import context

from saytics_server.accounts.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters most things by copying the table.
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
