"""What a person types and sees: commands parse, call and render."""
