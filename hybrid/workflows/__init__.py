"""What the commands do: plan, reproduce, report, screen, release."""
