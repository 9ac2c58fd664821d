"""What runs beside a user's code: decorator, worker, zygote, frames."""
