"""The etcd v3 driver, over etcd's JSON gateway. Nothing outside enters but through ``client.EtcdClient``."""
