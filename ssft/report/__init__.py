"""What a person can look at and listen to: pairs as training hears them."""
