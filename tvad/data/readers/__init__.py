"""Readers of public data sets as they are distributed, a file each; `tvad.data.build` runs them."""
