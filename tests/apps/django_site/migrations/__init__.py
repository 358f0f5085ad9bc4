"""How the database of the site came to be."""
