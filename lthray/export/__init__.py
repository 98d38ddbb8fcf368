"""Tickets that leave the store: folders that plain torch and diffusers read."""
