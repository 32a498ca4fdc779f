"""What may program the kernel: whichever does, packets must fare alike."""

import os

#: Name -> what Felix is told.
DATAPLANES = {
    "iptables-legacy": {"FELIX_IPTABLESBACKEND": "legacy"},
    "iptables-nft": {"FELIX_IPTABLESBACKEND": "nft"},
    "nftables": {"FELIX_NFTABLESMODE": "Enabled"},
}
#: PACKETS_DATAPLANES=a,b chooses others.
CHOSEN = os.environ.get("PACKETS_DATAPLANES", "iptables-legacy,nftables").split(",")
