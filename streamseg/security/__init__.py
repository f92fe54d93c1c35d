"""Who may watch and control: keys, tokens, roles. Below the processes whose sockets it guards."""
