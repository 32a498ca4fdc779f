"""The etcd v3 datastore, over etcd's JSON gateway."""
