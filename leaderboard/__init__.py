"""How models are compared: submissions are taken, scored here on labels of ours, kept, and shown with their
evidence.

    card.py    what a submitter says about a model
    board/     a board's configuration, its private splits
    store/     accounts, queue, results, audit log; how rows are ranked, which are flagged
    intake/    submissions, checked by the same code on both machines; uploads
    scoring/   the scorer, and the scored runs that it keeps as evidence
    web/       the server: routes by resource, pages
    client.py  what a submitter's machine sends and fetches
    build.py   all pages as static files

A room imports from those above it, never from those below.
"""
