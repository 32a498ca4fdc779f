"""From calculated messages to the kernel: rendering (``rules``), conversion (``managers``), reconciliation (``drivers``)."""
