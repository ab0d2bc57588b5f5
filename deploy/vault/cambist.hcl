# What Cambist may do at Vault when it logs in as itself: this, and what the policy `default` allows about its own token
# (auth/token/lookup-self, auth/token/renew-self). docs/vault.md says what each line is for.

# Secrets that are injected (credential.kind static and oauth_client_credentials). Read, nothing else; the tags come with it.
path "secret/data/upstreams/*" { capabilities = ["read"] }

# Tokens that hold the leases of credential.kind dynamic: made with the token role cambist-lease, which gives them the
# policy cambist-lease and nothing of this one; ended by their accessor.
path "auth/token/create/cambist-lease" { capabilities = ["update"] }
path "auth/token/revoke-accessor"      { capabilities = ["update"] }
