"""Who gets which address: blocks of pools, affinities, handles, reservations. Formats and algorithms are Calico's."""
