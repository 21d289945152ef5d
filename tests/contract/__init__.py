"""What the façade relies on in a model that generates, tried on every kind of model that it serves."""
