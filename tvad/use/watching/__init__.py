"""`tvad watch`: live sources and files played at their own speed, alarms as they come. alarms: where they are
told; camera: one source, its frames and counters; watch: several of them with one model."""
