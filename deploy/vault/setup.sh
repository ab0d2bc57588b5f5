#!/bin/sh
# Prepares a Vault for Cambist: policies, the token role of leases, the login by tokens that Cambist signs itself. Run it
# again whenever one of the policies has changed; it changes nothing else, and makes no secret.
#
#   VAULT_ADDR=… VAULT_TOKEN=… CAMBIST_ISSUER=https://sts.example.com deploy/vault/setup.sh
#
# CAMBIST_JWKS           where Vault reads the keys of Cambist; default: <CAMBIST_ISSUER>/oauth2/jwks
# CAMBIST_VAULT_AUDIENCE vault.login.audience of the settings; default: VAULT_ADDR, as there
set -eu
here=$(dirname "$0")
: "${VAULT_ADDR:?is not set: the URL of Vault, as in vault.address of the settings}"
: "${CAMBIST_ISSUER:?is not set: the issuer of the settings}"
jwks_url=${CAMBIST_JWKS:-$CAMBIST_ISSUER/oauth2/jwks}
audience=${CAMBIST_VAULT_AUDIENCE:-$VAULT_ADDR}

vault policy write cambist "$here/cambist.hcl"
vault policy write cambist-lease "$here/cambist-lease.hcl"

# Orphans: a lease lives as long as its token of Cambist, whatever becomes of the login that asked for it.
vault write auth/token/roles/cambist-lease allowed_policies=cambist-lease orphan=true renewable=false

vault auth list -format=json | grep -q '"jwt/"' || vault auth enable jwt
vault write auth/jwt/config jwks_url="$jwks_url" bound_issuer="$CAMBIST_ISSUER"
# Cambist about itself; a token about a person gets nobody in here.
vault write auth/jwt/role/cambist - <<JSON
{
  "role_type": "jwt",
  "user_claim": "sub",
  "bound_audiences": ["$audience"],
  "bound_claims": { "cambist_login": "service" },
  "token_policies": ["cambist"],
  "token_ttl": "20m",
  "token_max_ttl": "24h"
}
JSON
