"""Manifests of APIs: YAML files. A file's name is a source's `type`."""
