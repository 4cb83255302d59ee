"""Several processes that answer on one port: who starts them, what they share, how they are asked as one."""
