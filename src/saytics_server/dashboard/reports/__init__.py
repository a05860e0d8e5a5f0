"""The reports as pages: a builder that reads like a sentence, the answer, and who is behind it.

In: the address of a page, which holds the whole question. Out: finished numbers for templates.
One module per report says what its builder asks and how its answer is shown; everything else is
the same for all.
"""

from saytics_server.dashboard.reports.pages import handlers

__all__ = ["handlers"]
