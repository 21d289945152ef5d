"""Many machines: Kustomize files, and the few of them that are made from others."""
