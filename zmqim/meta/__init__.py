"""Who belongs to the cluster and where its replicas live: birth, registry, replacement. Pure."""
