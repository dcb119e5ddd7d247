"""What operators see: Prometheus metrics, health, structured logs."""
