"""LC without tuning, against what else one would do: see ``docs/rivals.md``."""
