"""A table of one's own becomes a data set: `rows` reads the file, `columns` says what each column means,
`cells` and `times` what a cell says, `clips` which file a name is, `facts` what the rows of a video say
together; `understand`, then `make`."""

from tvad.data.table.make import build_table
from tvad.data.table.report import kinds_of, lines
from tvad.data.table.understand import Understood, understand

__all__ = ["Understood", "build_table", "kinds_of", "lines", "understand"]
