"""Network of a workspace: the gateway process on the host, its egress proxy, published ports, policy by name."""
