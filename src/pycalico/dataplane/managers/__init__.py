"""From messages to wishes: what the calculation says, in the words of the drivers. No manager writes to the kernel."""
