"""A sample company to look at: a seeded, coherent history of events, small or very large.

In: a `DemoPlan`. Out: the same events in time order in three forms: wire dictionaries (`generate`),
batch bodies to post (`run_demo`), and rows ready for the log (`generate_rows`), which skip parsing
and validation and are what benchmarks load. Memory does not grow with the number of events; the
same plan gives the same bytes.

    story ──► population ──► history ──► render ──► generate, run_demo, generate_rows
    (data)    (who is there)  (what happens)  (words)
"""

from saytics_server.demo.feed import DemoPlan, WireItem, generate, generate_rows, run_demo

__all__ = ["DemoPlan", "WireItem", "generate", "generate_rows", "run_demo"]
