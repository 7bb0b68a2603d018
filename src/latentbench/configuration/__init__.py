"""The YAMLs, the config that is composed of them, and the identity of a run."""
