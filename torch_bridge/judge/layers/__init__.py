"""Where in a model a difference begins: the layers of a port of flax or equinox beside torch's."""
