"""Reports: parameters -> typed question -> SQL -> rows -> answer, one file per report.

`model` and `periods` say what can be asked, `values` and `filters` what a name and a condition
are in SQL, `scan` which events are read and who did them; a report adds what it counts. Each has
`parse(parameters, frame)`, pure, and `run(store, question)`, which returns the JSON answer.
"""
