"""Anomalies composited into real normal footage of a fixed camera, so that a model learns what is anomalous
there without a real anomaly: how large people are and how far they walk (`footage`), walkers cut out of it
(`cutouts`), actors in its perspective, light and grain (`actors`), clips with exact masks and tracks
(`clips`), as a data set (`dataset`). Every choice here is ours: the published one-class methods train no
detector on composites."""
