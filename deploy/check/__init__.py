"""`make deploy-check`: every file in deploy/ is read by the tool that will read it in earnest."""
