"""The model seam: one call of Copilot's model, watched, judged and made again where it broke."""
