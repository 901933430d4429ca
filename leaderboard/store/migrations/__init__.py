"""Alembic's environment and the versions of the tables. `leaderboard.store.database.migrate` runs them; a
new one is written with

alembic -c leaderboard/store/migrations/alembic.ini -x url=sqlite:///board.sqlite revision --autogenerate -m
"what changes"
"""
