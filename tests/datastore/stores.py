"""Either real datastore behind one handle, for what must hold on both."""

import json
import subprocess

from api_process import ApiProcess
from etcd_process import EtcdProcess

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.networkset import GlobalNetworkSet, NetworkSetSpec
from pycalico.datastore.etcd import keys
from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.kubernetes.rest import StatusError, path_of

NAMES = ("etcd", "kubernetes")


def network_set(name, number=0):
    nets = [f"10.{number >> 8 & 255}.{number & 255}.0/24"]
    return GlobalNetworkSet(metadata=ObjectMeta(name=name), spec=NetworkSetSpec(nets=nets))


class EtcdStore:
    def __init__(self, folder, address="127.0.0.1", enter=(), client_enter=()):
        self.process = EtcdProcess(folder / "etcd", address=address, enter=enter)
        self.process.wait(client_enter)
        self.where = {"datastore_type": "etcdv3", "etcd_endpoints": self.process.url}

    def client(self):
        return self.process.client()

    def spoil(self, name):
        """Writes an object that cannot be read, over what is there."""
        client = self.client()
        key = f"{keys.RESOURCES}globalnetworksets/{name}"
        client.gateway.put_if(key, b'{"kind": "GlobalNetworkSet", "metadata": {"name": 5}}', "")
        client.close()

    def forget(self):
        self.process.compact()

    def kill(self):
        self.process.kill()

    def start(self):
        self.process.start()
        self.process.wait()

    def close(self):
        self.process.close()


class KubernetesStore:
    def __init__(self, folder, address="127.0.0.1", enter=(), client_enter=()):
        (folder / "api").mkdir()
        self.process = ApiProcess(folder / "api", "--history-events", "50", host=address, enter=enter)
        if enter:
            # Of the other network only commands can go there; one kind is enough.
            one = next(each for each in crds() if each["spec"]["names"]["kind"] == "GlobalNetworkSet")
            subprocess.run(
                [*client_enter, "kubectl", "create", "-f", "-"], input=json.dumps(one), text=True,
                env=self.process.environ(), check=True, capture_output=True,
            )  # fmt: skip
        else:
            self.process.define()
        self.where = {"datastore_type": "kubernetes", "kubeconfig": str(self.process.kubeconfig)}

    def client(self):
        return self.process.client()

    def spoil(self, name):
        client = self.client()
        path = path_of("crd.projectcalico.org/v1", "globalnetworksets")
        meta = {"name": name, "annotations": {"projectcalico.org/metadata": "not JSON"}}
        body = {"apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkSet", "metadata": meta}
        try:
            found = client.rest.get(f"{path}/{name}", dict)
        except StatusError:
            client.rest.create(path, body, dict)
        else:
            meta["resourceVersion"] = found["metadata"]["resourceVersion"]
            client.rest.replace(f"{path}/{name}", body, dict)
        client.close()

    def forget(self):
        """The server keeps fifty changes: more than that of another kind push the older ones out."""
        client = self.client()
        path = path_of("v1", "configmaps", "default")
        for number in range(60):
            made = client.rest.create(path, {"metadata": {"name": f"noise-{number}"}}, dict)
            client.rest.delete(f"{path}/{made['metadata']['name']}")
        client.close()

    def kill(self):
        self.process.kill()

    def start(self):
        self.process.start()

    def close(self):
        self.process.close()


def open_store(name, folder, **more):
    return {"etcd": EtcdStore, "kubernetes": KubernetesStore}[name](folder, **more)


def listed(client, kind=GlobalNetworkSet):
    """The picture that a follower must have."""
    return {str(item.key): item.metadata.resource_version for item in client.list(kind)}


__all__ = ["NAMES", "listed", "network_set", "open_store"]
