"""Documents and manifests: specs as mappings, text and files."""
