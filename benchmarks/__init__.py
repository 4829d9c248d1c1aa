"""Side by side with peers: data sets, networks, costs and other methods, without eckart itself."""
