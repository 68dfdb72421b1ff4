"""Starting TorchServe with a packed version, and watching it."""
