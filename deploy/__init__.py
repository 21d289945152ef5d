"""What runs the project: on one machine, in containers, in a cluster."""
