"""Video anomaly data: one `Sample` schema, readers, checks."""

from tvad.data.check import Problem, check, load_checked
from tvad.data.folder import load, save
from tvad.data.sample import Question, Sample, Track, Video

__all__ = ["Problem", "Question", "Sample", "Track", "Video", "check", "load", "load_checked", "save"]
