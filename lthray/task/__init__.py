"""What is learnt: data, networks, objectives and samplers, and what a user gives of them."""
