"""What Coterie is compared with: programs of their own, each printing one JSON object."""
