"""What Kubernetes says of NetworkPolicy: isolation, and what isolated pods may still do. Nothing of Calico in it."""

import ipaddress


class Cluster:
    """``pods``: (namespace, name) -> {labels, addresses {4:, 6:}, ports [(name, protocol, number)]}."""

    def __init__(self, namespaces, pods):
        self.namespaces = namespaces
        self.pods = pods
        #: (namespace, name) -> spec
        self.policies = {}

    def allows(self, source, target, version, protocol, number):
        arguments = (version, protocol, number)
        return self._may("egress", source, target, target, *arguments) and self._may(
            "ingress", target, source, target, *arguments
        )

    def _may(self, direction, subject, peer, target, version, protocol, number):
        side = {"ingress": "from", "egress": "to"}[direction]
        isolated = False
        for (namespace, _), spec in self.policies.items():
            if namespace != subject[0] or not selects(spec.get("podSelector"), self.pods[subject]["labels"]):
                continue
            types = spec.get("policyTypes") or (["Ingress", "Egress"] if "egress" in spec else ["Ingress"])
            if direction.capitalize() not in types:
                continue
            isolated = True
            for rule in spec.get(direction) or ():
                peers, ports = rule.get(side), rule.get("ports")
                if peers and not any(self._is(each, namespace, peer, version) for each in peers):
                    continue
                if ports and not any(self._at(each, target, protocol, number) for each in ports):
                    continue
                return True
        return not isolated

    def _is(self, wanted, namespace, peer, version):
        pod = self.pods[peer]
        if "ipBlock" in wanted:
            block = wanted["ipBlock"]
            address = ipaddress.ip_address(pod["addresses"][version])
            nets = [ipaddress.ip_network(text) for text in (block["cidr"], *block.get("except", ()))]
            return address in nets[0] and not any(address in net for net in nets[1:])
        if "namespaceSelector" in wanted:
            if not selects(wanted["namespaceSelector"], self.namespaces[peer[0]]):
                return False
        elif peer[0] != namespace:
            return False
        return selects(wanted.get("podSelector"), pod["labels"])

    def _at(self, wanted, target, protocol, number):
        if wanted.get("protocol", "TCP") != protocol:
            return False
        port = wanted.get("port")
        if port is None:
            return True
        if isinstance(port, int):
            return port <= number <= wanted.get("endPort", port)
        return (port, protocol, number) in self.pods[target]["ports"]


def selects(selector, labels):
    """None and {} select everything."""
    selector = selector or {}
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions", ()):
        key, operator, values = each["key"], each["operator"], each.get("values", ())
        if operator == "In" and labels.get(key) not in values:
            return False
        if operator == "NotIn" and labels.get(key) in values:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True
