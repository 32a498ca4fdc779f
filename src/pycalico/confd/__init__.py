"""confd: keeps BIRD's configuration equal to what the datastore says.

syncer → inputs → ``bgp.routing`` → ``bgp.render`` → files, checked by BIRD before they replace the old ones →
reload, confirmed by BIRD.
"""
