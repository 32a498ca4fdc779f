"""One file a kind. Imported by name (``from pycalico.api.v3.ippool import IPPool``) or through ``pycalico.api.kinds``."""
