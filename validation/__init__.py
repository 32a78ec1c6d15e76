"""`auflow validate`: how far two CSV files in OpenFace's format agree, column group by column group.

`table` reads a file, `statistics` holds the formulas, `comparison` matches rows and applies them, `budgets` decides
whether the result is good enough, `text` and `html` show it. `command` is the command line.
"""
