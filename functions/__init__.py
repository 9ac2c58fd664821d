"""What runs functions: pools of workers, the autoscaler, and later containers."""
