"""What pulls the codes towards the prior."""
