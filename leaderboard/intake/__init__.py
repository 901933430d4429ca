"""What comes in: submissions, checked by the same code on the submitter's machine and on the server, and
uploads."""

GONE = "no such upload"  # what a client knows a lost upload by
