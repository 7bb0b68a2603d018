"""The YAML files, the config composed from them, its checks, and the id of a run."""
