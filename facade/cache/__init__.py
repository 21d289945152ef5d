"""What an answer is worth keeping: two tiers, per item."""
