"""How people log in: local accounts with a second factor, and identity providers by OpenID Connect."""
