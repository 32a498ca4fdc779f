"""``calicoctl datastore migrate``: from etcd to Kubernetes by way of one file."""
